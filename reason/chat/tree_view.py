"""The live tree of a run: of all its rows only those on the screen are ever drawn."""

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from reason.chat.heading import heading
from reason.chat.outline import FILTERS, Outline
from reason.chat.pane import Pane
from reason.chat.run import Run
from reason.chat.tree_row import Look, drawn
from reason.watch import chain


class TreeView(Pane):
    """One run. Selects a thread by itself, the one on the critical path that writes, until somebody
    moves."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tree--dim", "tree--writing", "tree--done", "tree--cut", "tree--failed", "tree--critical",
        "tree--winner", "tree--decision", "tree--selected",
    }  # fmt: skip
    DEFAULT_CSS = """
    TreeView > .tree--dim { color: $text-muted; }
    TreeView > .tree--writing { color: $text-primary; }
    TreeView > .tree--done { color: $text-success; }
    TreeView > .tree--cut { color: $text-warning; }
    TreeView > .tree--failed { color: $text-error; text-style: bold; }
    TreeView > .tree--critical { color: $text-accent; text-style: bold; }
    TreeView > .tree--winner { color: $text-success; text-style: bold; }
    TreeView > .tree--decision { color: $text-warning; }
    TreeView > .tree--selected { background: $primary-muted; }
    TreeView:focus > .tree--selected { background: $primary 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("left,minus", "fold(True)", "Fold", show=False),
        Binding("right,plus", "fold(False)", "Unfold", show=False),
        Binding("space", "fold", "Fold"),
        Binding("w", "winner", "Winner", show=False),
        Binding("n", "next('writing')", "Next writing", show=False),
        Binding("e", "next('failed')", "Next failed", show=False),
        Binding("o", "filter", "Only", show=False),
        Binding("d", "decisions", "Decisions", show=False),
        Binding("a", "auto", "Auto", show=False),
    ]

    class Selected(Message):
        """Another thread is selected."""

        def __init__(self, view: "TreeView") -> None:
            super().__init__()
            self.view = view

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.outline = Outline(run)
        self.selected = "0"
        self.auto = True
        self._critical: set[str] = set()
        self._below: dict[str, int] = {}
        self._tree = 8

    def on_mount(self) -> None:
        self.frame()

    def on_resize(self) -> None:
        self._sized()
        self._seen()
        self.frame()  # nothing else draws a run that is over

    def frame(self) -> None:
        """Take in what happened, and draw it."""
        run = self.run
        run.timeline.measure(run.now)
        self._critical = run.watch.critical()
        self._below = run.timeline.below()
        if self.outline.update(self._critical):
            self._sized()
            if self.auto:
                self._seen()
        if self.auto:
            self._follow()
        self.border_title = heading(run, self.outline.filter, self.size.width)
        self._plain = self.rich_style
        self.refresh()

    def _sized(self) -> None:
        self._make_room(len(self.outline.rows))
        widest = max(
            (len(row.branch) + len(row.line.id) + 2 + 4 * bool(row.folded)
             for row in self.outline.rows if not row.decision), default=8,
        )  # fmt: skip
        self._tree = min(max(widest, 8), max(self.columns // 3, 8))

    def _follow(self) -> None:
        """Select the thread that is the furthest and writes, once the one selected does not."""
        watch, line = self.run.watch, self.run.watch.lines.get(self.selected)
        if not self.run.running and watch.winners:
            self._select(self._winner())
        elif line and not line.writing:
            writing = [name for name in self._critical if watch.lines[name].writing]
            if writing:
                self._select(max(writing, key=lambda name: watch.lines[name].clock))

    def render_line(self, y: int) -> Strip:
        number, width = self.scroll_offset.y + y, self.columns
        if number >= len(self.outline.rows):
            return Strip.blank(width, self._plain)
        row = self.outline.rows[number]
        style = self.get_component_rich_style
        look = Look(self._critical, self._below, self._tree, width, style, self._plain)
        parts = drawn(self.run, row, look)
        strip = Strip(parts).adjust_cell_length(width, self._plain)
        strip = strip.apply_style(self._plain)
        if not row.decision and row.line.id == self.selected:
            chosen = Style(bgcolor=style("tree--selected").bgcolor)
            strip = Strip(
                [Segment(text, (own or chosen) + chosen) for text, own, _ in strip], width
            )
        return strip

    # Moving

    def action_move(self, by: int) -> None:
        rows = self.outline.rows
        if not rows:
            return
        self.auto = False
        at = self.outline.place(self.selected)
        step = 1 if by > 0 else -1
        at = min(max((0 if at is None else at) + by, 0), len(rows) - 1)
        while rows[at].decision and 0 <= at + step < len(rows):
            at += step
        while rows[at].decision and at > 0:
            at -= 1
        self._select(rows[at].line.id)

    def action_fold(self, fold: bool | None = None) -> None:
        line = self.run.watch.lines.get(self.selected)
        if line is None:
            return
        self.auto = False
        folded = self.outline.folded
        has = any(not child.continues for child in line.children)
        fold = line.id not in folded if fold is None else fold
        if fold and (not has or line.id in folded) and line.parent:
            self._select(line.parent.id)
        elif fold and has:
            folded.add(line.id)
        else:
            folded.discard(line.id)
        self.frame()

    def action_winner(self) -> None:
        if self.run.watch.winners:
            self.auto = False
            self._select(self._winner())

    def _winner(self) -> str:
        """The thread with the answer, or the last that went on in its place."""
        watch, ending = self.run.watch, self.run.ending
        found = ending.thread if ending and ending.thread in watch.lines else None
        return list(chain(watch.lines[found or min(watch.winners)]))[-1].id

    def action_next(self, what: str) -> None:
        rows = [row.line for row in self.outline.rows if not row.decision]
        ids = [line.id for line in rows]
        start = ids.index(self.selected) + 1 if self.selected in ids else 0
        bad = ("failed", "cut", "stopped")
        wanted = bad if what == "failed" else (what,)
        for line in (*rows[start:], *rows[:start]):
            if self.run.timeline.state(line) in wanted:
                self.auto = False
                self._select(line.id)
                return

    def action_filter(self) -> None:
        now = self.outline.filter
        at = FILTERS.index(now) + 1 if now in FILTERS else 0
        self.only(FILTERS[at % len(FILTERS)])

    def only(self, words: str) -> None:
        """Show only what `Outline.filter` says."""
        self.outline.filter = words
        self.frame()
        self._select(self.selected)

    def go_to(self, thread: str) -> None:
        """Select a thread, whatever hides it."""
        self.auto = False
        self.frame()
        self._select(thread)

    def action_decisions(self) -> None:
        self.outline.decisions = not self.outline.decisions
        self.frame()

    def action_auto(self) -> None:
        self.auto = True
        self.frame()

    def _select(self, thread: str) -> None:
        if self.outline.place(thread) is None and not self.outline.filter:
            self.outline.shown(thread)
            self._sized()
        if thread != self.selected:
            self.selected = thread
            self.post_message(self.Selected(self))
        self._seen()
        self.refresh()

    def _seen(self) -> None:
        """Bring the row that is selected in sight."""
        self._reveal(self.outline.place(self.selected) or 0, len(self.outline.rows))
