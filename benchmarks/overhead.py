"""What a layer costs on top of a server: rows of figures, and their table."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.paired import Interval

GOAL = 0.95
GOAL_FIRST = 5.0
"""Milliseconds that the first token may come later."""


@dataclass(frozen=True, slots=True)
class Row:
    threads: int
    tokens: int
    """Of one repeat of one side."""
    repeats: int
    ours: float
    """Tokens per second, over all repeats; likewise below."""
    bare: float
    ratio: Interval
    """Throughput, ours to bare."""
    first_ms: float
    first_later_ms: Interval
    """How much later than with the bare client the first token came."""
    cpu_us: float
    """Client CPU per token; likewise below."""
    bare_cpu_us: float


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Our layer against a bare client of the same server", title_justify="left")
    columns = "threads|repeats|ours tok/s|bare tok/s|ratio|first token|later by|CPU/token|bare"
    for column in columns.split("|"):
        shown.add_column(column, justify="right")
    for r in rows:
        later = r.first_later_ms
        shown.add_row(
            str(r.threads),
            str(r.repeats),
            f"{r.ours:,.0f}",
            f"{r.bare:,.0f}",
            f"{r.ratio.value:.3f} [{r.ratio.low:.3f}, {r.ratio.high:.3f}]",
            f"{r.first_ms:.1f} ms",
            f"{later.value:+.1f} [{later.low:+.1f}, {later.high:+.1f}]",
            f"{r.cpu_us:.0f} us",
            f"{r.bare_cpu_us:.0f} us",
        )
    shown.caption = (
        f"medians of paired repeats, 95 % bootstrap intervals; goals: a ratio of {GOAL} at its "
        f"lower end, a first token at most {GOAL_FIRST:g} ms later"
    )
    return shown
