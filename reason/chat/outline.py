"""The rows of a tree in reading order, folded and filtered: threads, and decisions where they were
made."""

from collections.abc import Iterator
from dataclasses import dataclass

from reason.chat.run import Run
from reason.chat.timeline import Decision
from reason.watch import Line

FILTERS = ("", "open", "failed", "critical")
"""What there is to see only; any other word is looked for in what threads were asked and wrote."""


@dataclass(frozen=True, slots=True)
class Row:
    """A thread, or one of its decisions."""

    branch: str
    line: Line
    decision: Decision | None = None
    folded: int = 0
    """Threads below that are not shown."""


class Outline:
    """The rows of a run, made anew only where threads, decisions, folds or filter have changed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: list[Row] = []
        self.folded: set[str] = set()
        self.filter = ""
        self.decisions = True
        self._places: dict[str, int] = {}
        self._made: object = None

    def update(self, critical: set[str]) -> bool:
        """Make the rows anew if they must be; whether they were."""
        self.folded &= self.run.watch.lines.keys()
        moving = self.run.timeline.events if self.filter else 0
        state = (self.run.timeline.version, frozenset(self.folded), self.filter, self.decisions)
        if (state, moving) == self._made:
            return False
        self._made = (state, moving)
        if self.filter:
            self.rows = [Row("", line) for line in self._kept(critical)]
        else:
            self.rows = list(self._walk())
        self._places = {row.line.id: n for n, row in enumerate(self.rows) if not row.decision}
        return True

    def place(self, thread: str) -> int | None:
        """The row of a thread, if it is shown."""
        return self._places.get(thread)

    def shown(self, thread: str) -> int:
        """The row of a thread, for which what hides it is unfolded; the first where it is none."""
        line = self.run.watch.lines.get(thread)
        while line:
            line = line.parent
            if line:
                self.folded.discard(line.id)
        if self.place(thread) is None and thread in self.run.watch.lines:
            self.filter = ""
        self.update(self.run.watch.critical())
        return self.place(thread) or 0

    def _kept(self, critical: set[str]) -> Iterator[Line]:
        words = self.filter.lower()
        for line in self.run.watch.lines.values():
            state = self.run.timeline.state(line)
            if self.filter == "open":
                found = line.finish is None
            elif self.filter == "failed":
                found = state in ("failed", "cut", "stopped")
            elif self.filter == "critical":
                found = line.id in critical
            else:
                found = words in f"{line.id} {line.label} {line.tail}".lower()
            if found:
                yield line

    def _walk(self) -> Iterator[Row]:
        lines, spans = self.run.watch.lines, self.run.timeline.spans
        waiting: list[tuple[Line | Row, str, str]] = [(lines["0"], "", "")] if lines else []
        while waiting:
            line, first, below = waiting.pop()
            if isinstance(line, Row):
                yield line
                continue
            entries = spans[line.id].entries
            after = [e for e in entries if isinstance(e, Line) and e.continues]
            inside = [e for e in entries if not (isinstance(e, Line) and e.continues)]
            if not self.decisions:
                inside = [e for e in inside if isinstance(e, Line)]
            hidden = 0
            if line.id in self.folded:
                hidden = sum(isinstance(e, Line) for e in inside)
                inside = []
            yield Row(first, line, None, hidden)
            more: list[tuple[Line | Row, str, str]] = []
            for number, entry in enumerate(inside):
                last = not after and number == len(inside) - 1
                corner, pad = ("╰─ ", "   ") if last else ("├─ ", "│  ")
                if isinstance(entry, Decision):
                    more.append((Row(below + corner, line, entry), "", ""))
                else:
                    more.append((entry, below + corner, below + pad))
            more += [(each, below, below) for each in after]
            waiting += reversed(more)
