"""Which threads fit on the screen, and where they stand."""

from collections.abc import Iterator
from dataclasses import dataclass

from reason.watch import Line, Watch, chain


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the picture: a thread, or words about those that are not shown."""

    branch: str
    what: Line | str


def rows(watch: Watch, critical: set[str], height: int) -> list[Row]:
    """The tree in reading order, at most `height` rows of it."""
    if not watch.lines:
        return []
    shown = _fitting(watch, critical, height)
    return list(_walk(watch.lines["0"], "", "", shown))[:height]


def _fitting(watch: Watch, critical: set[str], height: int) -> set[Line]:
    """The threads to show, the most telling first; a thread is shown only below its parent."""

    def rank(line: Line) -> tuple[bool, bool, bool, float]:
        over = line.finish is not None
        telling = line.id in watch.winners or line.id in critical
        late = line.level if not watch.alive else -line.touched if over else 0.0
        return (not telling, over, not line.writing, late)

    shown: set[Line] = set()
    hidden: dict[Line, int] = {}
    used = 0
    for line in sorted(watch.lines.values(), key=rank):
        new: list[Line] = []
        above: Line | None = line
        while above and above not in shown:
            new.append(above)
            above = above.parent
        added = dict(hidden)
        for one in reversed(new):
            if one.parent:
                added[one.parent] -= 1
            added[one] = len(one.children)
        cost = len(shown) + len(new) + sum(count > 0 for count in added.values())
        if cost <= height or not shown:
            shown.update(new)
            hidden, used = added, cost
        elif used >= height:
            break
    return shown


def _walk(line: Line, first: str, below: str, shown: set[Line]) -> Iterator[Row]:
    """The rows of a thread, of those that go on in its place, and of all below them. `first` is
    drawn before the thread itself, `below` before everything else."""
    links = [link for link in chain(line) if link in shown]
    for number, link in enumerate(links):
        yield Row(below if number else first, link)
        hidden = [child for child in link.children if child not in shown]
        children = [child for child in link.children if child in shown and not child.continues]
        ends = number == len(links) - 1
        for index, child in enumerate(children):
            last = ends and not hidden and index == len(children) - 1
            corner, pad = ("╰─ ", "   ") if last else ("├─ ", "│  ")
            yield from _walk(child, below + corner, below + pad, shown)
        if hidden:
            done = sum(child.finish is not None for child in hidden)
            corner = "╰─ " if ends else "├─ "
            yield Row(below + corner, f"… {len(hidden)} more ({done} done)")
