"""The text of one thread as it is written, with a place in it to fork from."""

from bisect import bisect_right
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.strip import Strip

from reason.chat.pane import Pane
from reason.chat.run import Run
from reason.chat.wrap import Wrapped

KINDS = {"prompt": "prompt", "injected": "injected", "sampled": "sampled", None: "decision"}


class TextView(Pane):
    """Follows the end of the text until somebody moves in it, and again from End on."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "text--prompt", "text--injected", "text--sampled", "text--decision", "text--cursor",
    }  # fmt: skip
    DEFAULT_CSS = """
    TextView > .text--prompt { color: $text-muted; }
    TextView > .text--injected { color: $text-secondary; text-style: italic; }
    TextView > .text--decision { color: $text-warning; }
    TextView > .text--cursor { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "token(-1)", "Token back", show=False),
        Binding("right,l", "token(1)", "Token on", show=False),
        Binding("end,a", "follow", "Follow"),
    ]

    def __init__(self) -> None:
        super().__init__(id="text")
        self.run: Run | None = None
        self.thread = "0"
        self.cursor: int | None = None
        """A place in the text; None while the end is followed."""
        self._wrapped = Wrapped(1)
        self._kinds: list[str] = []
        self._starts: list[int] = []
        self._read = 0

    def show(self, run: Run | None, thread: str) -> None:
        """Another thread, from the end of its text on."""
        if (run, thread) != (self.run, self.thread) or run is None:
            self.run, self.thread, self.cursor = run, thread, None
            self._again()
        self.frame()

    def on_resize(self) -> None:
        self._again()
        self.frame()

    def frame(self) -> None:
        """Take in what was written, and draw it."""
        script = self.run.texts.scripts.get(self.thread) if self.run else None
        pieces = script.pieces if script else []
        if self._read < len(pieces):
            for piece in pieces[self._read :]:
                kind = KINDS[piece.origin]
                if not self._kinds or self._kinds[-1] != kind:
                    self._kinds.append(kind)
                    self._starts.append(self._wrapped.length)
                self._wrapped.feed(piece.text)
            self._read = len(pieces)
            self._make_room(len(self._wrapped.rows))
            if self.cursor is None:
                self._bottom()
        self._plain = self.rich_style
        state = "follows" if self.cursor is None else f"at character {self.cursor:,}, End follows"
        self.border_title = f"thread {self.thread} · {state}"
        self.refresh()

    def render_line(self, y: int) -> Strip:
        number, width = self.scroll_offset.y + y, self.columns
        rows, starts = self._wrapped.rows, self._wrapped.starts
        if number >= len(rows):
            return Strip.blank(width, self._plain)
        row, at, parts = rows[number], starts[number], list[Segment]()
        end = at + len(row)
        while at < end:
            kind = bisect_right(self._starts, at) - 1
            until = self._starts[kind + 1] if kind + 1 < len(self._starts) else end
            until = min(until, end)
            style = self.get_component_rich_style(f"text--{self._kinds[kind]}")
            parts.append(Segment(row[at - starts[number] : until - starts[number]], style))
            at = until
        strip = Strip(parts)
        if self.cursor is not None and number == self._wrapped.row_of(self.cursor):
            strip = self._marked(parts, self.cursor - starts[number])
        return strip.adjust_cell_length(width, self._plain).apply_style(self._plain)

    def _marked(self, parts: list[Segment], column: int) -> Strip:
        """A row with the cursor in it, behind its end where the text is over."""
        marked: list[Segment] = []
        cursor, at = self.get_component_rich_style("text--cursor"), 0
        for text, style, _ in (*parts, Segment(" ", self._plain)):
            here = column - at
            if 0 <= here < len(text) and style is not None:
                marked.append(Segment(text[:here], style))
                marked.append(Segment(text[here], style + cursor))
                marked.append(Segment(text[here + 1 :], style))
            else:
                marked.append(Segment(text, style))
            at += len(text)
        return Strip(marked)

    def action_move(self, by: int) -> None:
        wrapped = self._wrapped
        now = len(wrapped.rows) - 1 if self.cursor is None else wrapped.row_of(self.cursor)
        row = min(max(now + by, 0), len(wrapped.rows) - 1)
        self._move(wrapped.starts[row])

    def action_token(self, by: int) -> None:
        script = self.run.texts.scripts.get(self.thread) if self.run else None
        if script:
            now = self._wrapped.length if self.cursor is None else self.cursor
            self._move(script.step(now, by))

    def action_follow(self) -> None:
        self.cursor = None
        self._bottom()
        self.frame()

    def _move(self, character: int) -> None:
        self.cursor = character
        self._reveal(self._wrapped.row_of(character), len(self._wrapped.rows))
        self.frame()

    def _bottom(self) -> None:
        rows = len(self._wrapped.rows)
        self._reveal(rows - 1, rows)

    def _again(self) -> None:
        self._wrapped = Wrapped(self.columns - 1)
        self._kinds, self._starts, self._read = [], [], 0
        self._make_room(len(self._wrapped.rows))
