"""How often a chat is drawn: as often as it may cost."""

import asyncio
import time
from collections.abc import Awaitable, Callable

FRAME = 0.1
"""Seconds between two frames, at least."""
SLOWEST = 2.0
SHARE = 0.22
"""Of this thread's time that may go into drawing; where a frame takes long there are fewer."""


class Frames:
    """Calls `draw` and then waits for `drawn`, again and again while `moving`; in between, asleep
    until `wake`."""

    def __init__(
        self,
        draw: Callable[[], object],
        drawn: Callable[[], Awaitable[object]],
        moving: Callable[[], bool],
    ) -> None:
        self._draw, self._drawn, self._moving = draw, drawn, moving
        self._woken = asyncio.Event()
        self.count = 0
        """Frames so far."""
        self.pause = FRAME

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    async def go(self) -> None:
        """For ever."""
        while True:
            if not self._moving():
                await self._woken.wait()
            self._woken.clear()
            before = time.thread_time()
            self._draw()
            await self._drawn()
            spent = time.thread_time() - before
            self.count += 1
            self.pause = min(max(FRAME - spent, spent / SHARE - spent), SLOWEST)
            await asyncio.sleep(self.pause)
