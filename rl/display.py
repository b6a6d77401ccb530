"""A training run on the terminal: the steps, the last figures, and one rollout as it happens."""

import time
from collections import deque
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from eval.item import Item
from reason.events import Event
from reason.journal import Sink
from reason.live import animates
from reason.picture import Picture
from reason.watch import Watch

FRAME = 0.2
"""Seconds between two frames, at least."""
LINES = 6
"""Steps whose figures stay on screen."""


class Display:
    """On a terminal a bar, the last steps and the thread tree of a rollout under way; elsewhere a
    line for each step. A context manager.
    """

    def __init__(self, console: Console, method: str, model: str) -> None:
        self._console, self._method, self._model = console, method, model
        self._bar = Progress(
            TextColumn("step"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("step", total=None)
        self._recent: deque[str] = deque(maxlen=LINES)
        self._picture: Picture | None = None
        self._live: Live | None = None
        if animates(console):
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                vertical_overflow="crop",
                get_renderable=self._rendered,
            )
        self._drawn = 0.0

    def steps(self, done: int, total: int) -> None:
        """So many updates of so many are made."""
        self._bar.update(self._task, completed=done, total=total)
        self.refresh()

    def figures(self, line: str) -> None:
        """The figures of a step."""
        self._recent.append(line)
        if self._live is None:
            self.say(line)
        self.refresh()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def watch(self, item: Item) -> Sink | None:
        """What a rollout of that problem is shown by; None where nothing is shown."""
        if self._live is None:
            return None
        watch, began = Watch(), time.monotonic()
        self._picture = Picture(
            watch, item.title, self._method, self._model, now=lambda: time.monotonic() - began
        )

        def see(event: Event) -> None:
            watch(event)
            self.refresh()

        return see

    def refresh(self) -> None:
        """Draw, if it is time for it."""
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= FRAME:
            self._drawn = now
            self._live.refresh()

    def _rendered(self) -> RenderableType:
        recent = [Text(line, no_wrap=True, overflow="ellipsis") for line in self._recent]
        parts: list[RenderableType] = [self._bar.get_renderable(), *recent]
        if self._picture is not None:
            self._picture.rows = max(self._console.height - len(parts) - 3, 4)
            parts += [Text(), self._picture]
        return Group(*parts)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            for line in self._recent:
                self.say(line)
