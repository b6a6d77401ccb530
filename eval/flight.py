"""How many tokens the runs of an evaluation hold at once, and who may begin another."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

from reason.events import Event, Tokens

FIRST = 4
"""Runs that are begun together before anything is known of their size."""


class Seat:
    """One run; a sink of its events. What a fork shares with its parent counts once."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Tokens):
            self.tokens += len(event.ids)


class Flight:
    """Runs begin in the order in which they asked, while those that run hold less than `limit`.

    A run counts with the tokens it has, but at least with what finished ones had on average, so
    that many young runs do not grow too large together. One run is always allowed.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = inf if limit is None else limit
        self._seats: set[Seat] = set()
        self._waiting: deque[asyncio.Future[Seat]] = deque()
        self._finished = self._tokens = 0

    @property
    def tokens(self) -> float:
        """What counts as in flight."""
        if self.limit == inf:
            return 0.0
        expected = self._tokens / self._finished if self._finished else self.limit / FIRST
        return sum(max(seat.tokens, expected) for seat in self._seats)

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Seat]:
        """Wait for room, and have a run counted."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            seat = await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come in the same moment
                self._leave(turn.result())
            raise
        try:
            yield seat
        finally:
            self._finished += 1
            self._tokens += seat.tokens
            self._leave(seat)

    def _leave(self, seat: Seat) -> None:
        self._seats.discard(seat)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (not self._seats or self.tokens < self.limit):
            turn = self._waiting.popleft()
            if not turn.cancelled():
                seat = Seat()
                self._seats.add(seat)
                turn.set_result(seat)
