"""A line that says how many items are finished, on a terminal; nothing anywhere else."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rl.traced.done import LAST, Done


class ProgressLine:
    """Items finished, kept and dropped, and what the teacher has written. A context manager, and
    the callback that gets every step."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self.kept = self.dropped = self.sampled = 0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, status="")

    def __call__(self, row: Done) -> None:
        self.sampled += row.sampled_tokens
        self.kept += row.step == LAST and row.drop is None
        self.dropped += row.drop is not None
        self._bar.update(self._task, completed=self.kept + self.dropped, status=self.status)

    @property
    def status(self) -> str:
        """ "12 kept · 3 dropped · 45,678 tokens written"."""
        parts = [f"{self.kept:,} kept", f"{self.dropped:,} dropped"]
        if self.sampled:
            parts.append(f"{self.sampled:,} tokens written")
        return " · ".join(parts)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
