"""An event loop on a virtual clock: waiting costs nothing, and what is due first happens first."""

import asyncio
import selectors
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Once nothing is left to do, its clock jumps to the next timer instead of waiting for it.

    Recorded timing plays back in no time, in the recorded order: `asyncio.sleep`, time-outs and a
    run's seconds are all on this clock. Use as `asyncio.Runner(loop_factory=VirtualLoop)`. What
    happens outside the loop - threads, sockets - still takes real time, in which the clock stands.
    """

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._now += seconds


class _Jumping(selectors.DefaultSelector):
    """Looks whether anything is ready, and lets the time pass that it was to wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:  # no timer is set: only the world outside can go on
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self._loop.jump(max(timeout, 0.0))
        return ready
