"""Text that grows, in rows of a width: what is broken once is not broken again."""

from bisect import bisect_right

from rich.cells import cell_len


class Wrapped:
    """Rows of what was fed so far. A row keeps the place in the text at which it begins."""

    def __init__(self, width: int) -> None:
        self.width = max(width, 1)
        self.starts = [0]
        self.rows = [""]
        """Without line breaks; a space at the end may hang over the width."""
        self.length = 0
        """Characters that were fed."""

    def feed(self, text: str) -> None:
        """Add text at the end."""
        self.length += len(text)
        for number, part in enumerate(text.split("\n")):
            if number:
                self.starts.append(self.starts[-1] + len(self.rows[-1]) + 1)
                self.rows.append("")
            self._extend(part)

    def row_of(self, character: int) -> int:
        """In which row a character stands."""
        return max(bisect_right(self.starts, character) - 1, 0)

    def _extend(self, part: str) -> None:
        row, start = self.rows.pop() + part, self.starts.pop()
        while (fits := _fitting(row, self.width)) < len(row):
            space = row.rfind(" ", 0, fits + 1)
            end = space + 1 if space > 0 else fits
            self.rows.append(row[:end])
            self.starts.append(start)
            row, start = row[end:], start + end
        self.rows.append(row)
        self.starts.append(start)


def _fitting(row: str, width: int) -> int:
    """How many characters of it fit, one at least."""
    if row.isascii() or len(row) * 2 <= width:
        return max(min(len(row), width), min(len(row), 1))
    used = 0
    for number, character in enumerate(row):
        used += cell_len(character)
        if used > width:
            return max(number, 1)
    return len(row)
