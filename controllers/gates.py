"""Waiting for the others, and for a free place."""

import asyncio
from types import TracebackType


class Gate:
    """Lets nobody on before all who take part have come to it; with none, lets everybody on."""

    def __init__(self, parties: int) -> None:
        self._parties = parties
        self._arrived = 0
        self._round = asyncio.Event()

    async def wait(self) -> None:
        """Wait until all who have not left are here."""
        if not self._parties:
            return
        self._arrived += 1
        mine = self._round
        self._open()
        try:
            await mine.wait()
        except asyncio.CancelledError:
            self._arrived -= mine is self._round  # it was still waited for
            raise

    def leave(self) -> None:
        """Take no further part."""
        if self._parties:
            self._parties -= 1
            self._open()

    def _open(self) -> None:
        if self._arrived >= self._parties:
            self._arrived = 0
            self._round.set()
            self._round = asyncio.Event()


class Slots:
    """So many at once; 0 for any number."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most) if most else None

    async def __aenter__(self) -> None:
        if self._free:
            await self._free.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._free:
            self._free.release()
