"""A run on screen while it happens, played back from a recording, and as a picture on disk."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.terminal_theme import TerminalTheme

from reason.errors import UsageError
from reason.events import Event
from reason.journal import Sink
from reason.picture import Picture
from reason.watch import clean

FRAME = 0.1
"""Seconds between two frames, at least."""
SHARE = 0.1
"""Of the time that may go into drawing; on a slow terminal there are fewer frames."""
SVG_WIDTH = 112
SVG_THEME = TerminalTheme(
    (23, 25, 33),
    (217, 221, 230),
    [
        (40, 44, 56),
        (247, 107, 118),
        (130, 214, 140),
        (232, 195, 106),
        (105, 172, 245),
        (229, 130, 240),
        (98, 208, 228),
        (217, 221, 230),
    ],
    [
        (116, 123, 142),
        (247, 107, 118),
        (130, 214, 140),
        (232, 195, 106),
        (105, 172, 245),
        (229, 130, 240),
        (98, 208, 228),
        (255, 255, 255),
    ],
)
ROWS = 60
"""Of a final tree where no terminal says how many there are."""


def animates(console: Console) -> bool:
    """Whether a live tree can be shown there."""
    return console.is_terminal and not console.is_dumb_terminal


@asynccontextmanager
async def showing(console: Console, picture: Picture) -> AsyncIterator[None]:
    """While inside, the tree is live on a terminal; after that it stays there as it was last.
    Elsewhere nothing is shown."""
    if not animates(console):
        yield
        return
    try:
        with Live(
            picture, console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
        ) as live:
            drawing = asyncio.create_task(_draw(live))
            try:
                yield
            finally:
                drawing.cancel()
                with suppress(asyncio.CancelledError):
                    await drawing
    finally:
        print_tree(console, picture)


def print_tree(console: Console, picture: Picture) -> None:
    """The tree as it stands, with room for what is printed below it."""
    rows = max(console.height - 4, 8) if console.is_terminal else ROWS
    console.print(replace(picture, rows=rows))


async def _draw(live: Live) -> None:
    while True:
        began = time.perf_counter()
        live.refresh()
        spent = time.perf_counter() - began
        await asyncio.sleep(max(FRAME - spent, spent / SHARE - spent))


async def play(events: Iterable[Event], sinks: Iterable[Sink], speed: float) -> None:
    """Hand events over when their time has come, `speed` times as fast as they happened; 0 waits
    for nothing. Raises UsageError for events that are not those of one run."""
    sinks, began = tuple(sinks), time.monotonic()
    for number, event in enumerate(events):
        wait = event.at / speed - (time.monotonic() - began) if speed else 0.0
        if wait > 0 or number % 100 == 0:
            await asyncio.sleep(max(wait, 0.0))
        try:
            for sink in sinks:
                sink(event)
        except LookupError as error:
            raise UsageError(
                f"the recording is damaged: event {number + 1} speaks of {error}, which no event "
                "before it opened"
            ) from error


def save_svg(path: Path, picture: Picture, *below: RenderableType) -> None:
    """Write the picture, and what stands below it, as SVG."""
    console = Console(
        record=True,
        file=io.StringIO(),
        width=SVG_WIDTH,
        height=ROWS,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        _environ={},
    )
    console.print(Group(replace(picture, rows=ROWS), *below))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        console.save_svg(str(path), title=f"reason · {clean(picture.title)}", theme=SVG_THEME)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
