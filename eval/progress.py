"""A line that says how an evaluation stands, on a terminal; nothing anywhere else."""

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from eval.metrics import Estimate, accuracy
from eval.samples import Sample

REFRESH_SECONDS = 0.25
WIDE = 110
"""Columns from which on there is room for a bar beside the figures."""
FIGURES = 52
"""Columns that the figures take where there is no such room, and BAR more where there is."""
BAR = 36


class ProgressLine:
    """Samples done, running accuracy with its interval, tokens/s and the time left.

    A context manager, and the callback that gets every row.
    """

    def __init__(self, console: Console, title: str, total: int) -> None:
        self.total, self._wide = total, console.width >= WIDE
        self._rows: list[Sample] = []
        self._fresh = 0
        """Rows that came in this session; its speed is theirs."""
        self._tokens = 0
        self._born = time.monotonic()
        self._shown = 0.0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=20)] if self._wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        name = Text(title)
        figures = FIGURES + (BAR if self._wide else 0)
        name.truncate(max(console.width - figures, 8), overflow="ellipsis")
        self._task = self._bar.add_task(name.plain, total=total, status="")

    def __call__(self, row: Sample, fresh: bool) -> None:
        self._rows.append(row)
        if fresh:
            self._fresh += 1
            self._tokens += row.total_tokens
        now = time.monotonic()
        due = now - self._shown > REFRESH_SECONDS or len(self._rows) == self.total
        if due and not self._bar.disable:
            self._shown = now
            self._bar.update(self._task, completed=len(self._rows), status=self.status(now))

    def status(self, now: float) -> str:
        """ "accuracy 82.0% [74.1, 87.9] · 5,120 tok/s · 0:42 left"; `now` as time.monotonic."""
        parts = [f"accuracy {percent(accuracy(self._rows))}"]
        elapsed = now - self._born
        if self._fresh and elapsed > 0:
            left = round((self.total - len(self._rows)) * elapsed / self._fresh)
            speed = [f"{self._tokens / elapsed:,.0f} tok/s"] if self._wide else []
            parts += [*speed, f"{duration(left)} left"]
        return " · ".join(parts)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def percent(estimate: Estimate) -> str:
    """ "82.0% [74.1, 87.9]": the value and its 95% interval."""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f}% [{low:.1f}, {high:.1f}]"


def duration(seconds: int) -> str:
    """ "0:42", "1:02:03"."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
