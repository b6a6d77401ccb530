"""The thread tree as a terminal shows it: a line per thread, what it is doing, and when.

    thread      task            tokens  clock        96  text
    ◌ 0         3 5 7 8 = 24        31  ━━━╌╌╌╌╌╌╌╌╌╌╌╌  … <spawn> 24 7 8 3 <join>
    ├─ ✓ 0.0    24 7 8 3            57     ━━━━━━━       … no <ret> fail <eos>
    ★ 0.1       join 1 → goes on    12            ━━━━━  … <ans> 8 - 5 = 3 , …

A thread that goes on in its parent's place stands in its parent's column.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from reason.select import Row, rows
from reason.watch import Line, Watch, clean

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
CUT = ("✂", "yellow")
GLYPHS = {
    "eos": ("✓", "green"),
    "stop": ("✓", "green"),
    "length": CUT,
    "budget": CUT,
    "cancelled": ("⊘", "bright_black"),
    "error": ("✗", "bold red"),
}
DIM = "bright_black"
WORD = 10
"""Characters that may be left blank at the left so that a text does not begin inside a word."""
CRITICAL = "bold magenta"
WINNER = "bold green"


@dataclass
class Picture:
    """Renders a Watch within the width of the console."""

    watch: Watch
    title: str
    """What was asked."""
    method: str
    model: str = ""
    rows: int = 0
    """Lines to take at most, with the two at the top; 0 for those of the terminal."""
    now: Callable[[], float] | None = None
    """Seconds since the run began; without it the time of the last event."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = self.rows or (options.height or console.height) - 1
        watch, critical = self.watch, self.watch.critical()
        shown = rows(watch, critical, max(height - 2, 2))
        layout = _Layout.fit(shown, watch.clock(), width, self.title)
        lines = [self._header(width), layout.head()]
        frame = SPINNER[int(time.monotonic() * 10) % len(SPINNER)] if watch.alive else ""
        for row in shown:
            if isinstance(row.what, Line):
                lines.append(layout.line(row, row.what, watch, critical, frame))
            else:
                lines.append(Text(f"{row.branch}{row.what}", DIM))
        for line in lines[:height]:
            line.truncate(width, overflow="ellipsis")
            line.no_wrap, line.end = True, ""
            yield line
            yield Text("\n", end="")
        if watch.alive:
            yield Text()  # where a terminal echoes ^C

    def _header(self, width: int) -> Text:
        watch = self.watch
        seconds = self.now() if self.now and watch.alive else watch.at
        rate = watch.tokens / seconds if seconds > 0 else 0
        alive = f"{watch.alive}/{watch.threads}" if watch.alive else f"{watch.threads}"
        facts = {
            "s": f"{seconds:.1f}",
            "tokens": f"{watch.tokens:,}",
            "tokens/s": f"{rate:,.0f}",
            "thread" if watch.threads == 1 else "threads": alive,
            "critical path": f"{watch.clock():,}",
        }
        left = Text().append(clean(self.method), "bold cyan")
        left.append("  ").append(clean(self.title)).truncate(width - 2, overflow="ellipsis")
        for short in ({}, {"tokens": "tok", "tokens/s": "tok/s", "critical path": "path"}):
            right = _facts(facts, short)
            if left.cell_len + 2 + right.cell_len <= width:
                break
        if self.model and left.cell_len + right.cell_len + 4 + cell_len(self.model) <= width:
            left.append("  ").append(clean(self.model), DIM)
        room = max(width - right.cell_len - 2, min(left.cell_len, width // 4))
        left.truncate(room, overflow="ellipsis", pad=True)
        return left.append("  ").append(right)


def _facts(facts: dict[str, str], short: dict[str, str]) -> Text:
    text = Text()
    for unit, value in facts.items():
        text.append("  " if text else "")
        text.append(value, CRITICAL if unit == "critical path" else "bold")
        text.append(f" {short.get(unit, unit)}", DIM)
    return text


@dataclass(frozen=True)
class _Layout:
    """Widths of the columns."""

    tree: int
    label: int
    bar: int
    text: int
    clock: int
    """At the right end of the bars."""
    title: str

    @classmethod
    def fit(cls, shown: list[Row], clock: int, width: int, title: str) -> "_Layout":
        lines = [(row, row.what) for row in shown if isinstance(row.what, Line)]
        tree = max((len(row.branch) + 2 + len(line.id) for row, line in lines), default=6)
        tree = min(max(tree, 8), max(width // 3, 8))
        label = max((cell_len(_task(line, title)) for _, line in lines), default=0)
        label = min(max(label, 4), max(width // 5, 18)) if width >= 56 else 0
        bar = min(width // 5, 32) if width >= 72 else 0
        used = tree + 8 + (label + 2 if label else 0) + (bar + 2 if bar else 0)
        return cls(tree, label, bar, max(width - used - 2, 0), clock, title)

    def head(self) -> Text:
        text = Text(style=DIM, end="")
        text.append("thread".ljust(self.tree))
        if self.label:
            text.append("  " + "task".ljust(self.label))
        text.append("  tokens")
        if self.bar:
            text.append("  " + "clock" + f"{self.clock:,}".rjust(self.bar - 5))
        return text.append("  text")

    def line(self, row: Row, line: Line, watch: Watch, critical: set[str], frame: str) -> Text:
        won, on_path = line.id in watch.winners, line.id in critical
        over = bool(watch.winners) and not (won or on_path)
        strong = WINNER if won else CRITICAL if on_path else DIM if over else ""
        text = Text().append(row.branch, DIM)
        text.append(*_glyph(line, won, frame))
        text.append(f" {line.id}", strong)
        text.truncate(self.tree, overflow="ellipsis", pad=True)
        if self.label:
            task = Text(_task(line, self.title), DIM if over or line.forked else "")
            task.truncate(self.label, overflow="ellipsis", pad=True)
            text.append("  ").append(task)
        text.append(f"  {_short(line.tokens):>6}", DIM if over else "")
        if self.bar:
            text.append("  ").append(self._bar(line, CRITICAL if on_path else strong or "cyan"))
        if self.text:
            text.append("  ").append(self._tail(line, over))
        return text

    def _bar(self, line: Line, style: str) -> Text:
        """When the thread wrote, and when it waited, on the logical clock."""
        halves = 2 * self.bar
        scale = halves / max(self.clock, 1)
        on = [False] * halves
        for start, end in line.spans:
            first = min(int(start * scale), halves - 1)
            for half in range(first, min(max(round(end * scale), first + 1), halves)):
                on[half] = True
        first, last = int(line.born * scale) // 2, round(line.clock * scale) // 2
        text = Text()
        for cell in range(self.bar):
            left, right = on[2 * cell], on[2 * cell + 1]
            if left or right:
                text.append("━" if left and right else "╸" if left else "╺", style)
            else:
                text.append("╌" if first <= cell < last else " ", DIM)
        return text

    def _tail(self, line: Line, over: bool) -> Text:
        """Notes, then the end of what was written."""
        text = Text()
        for name, value in line.notes.items():
            text.append(f"{name} ", DIM).append(value, "yellow").append("  ")
        if line.detail and line.finish == "error":
            text.append(line.detail, "red")
        text.truncate(self.text, overflow="ellipsis")
        room = self.text - text.cell_len - (1 if line.writing else 0)
        written = Text(_end(line.tail.strip(), room), DIM if over else "")
        written.highlight_regex(_TAG, DIM)
        text.append(written)
        return text.append("▌", "cyan") if line.writing and room >= 0 else text


_TAG = re.compile(r"</?[^<>\s]{1,30}>")


def _glyph(line: Line, won: bool, frame: str) -> tuple[str, str]:
    if won and line.finish in ("eos", "stop"):
        return "★", WINNER
    if line.finish:
        return GLYPHS[line.finish]
    if not frame:  # nothing goes on, and yet it never ended
        return CUT
    return (frame, "cyan") if line.writing else ("◌", DIM)


def _task(line: Line, title: str) -> str:
    if line.continues and line.forked and line.parent:
        ready = [child for child in line.parent.joined if not child.continues]
        return f"join {len(ready)} → goes on"
    if line.parent is None:
        return clean(title) or line.label
    return "fork" if line.forked else line.label


def _short(number: int) -> str:
    return f"{number:,}" if number < 100_000 else f"{number / 1000:,.0f}k"


def _end(text: str, room: int) -> str:
    """As much of the end of the text as fits, after an ellipsis if that is not all."""
    if cell_len(text) <= room:
        return text
    used, kept = 1, len(text)
    for character in reversed(text):
        used += cell_len(character)
        if used > room:
            break
        kept -= 1
    start = text.find(" ", kept, kept + WORD)
    if start >= 0:  # no half words, but the end stays where it is
        return " " * cell_len(text[kept:start]) + "…" + text[start:]
    return "…" + text[kept:] if room > 0 else ""
