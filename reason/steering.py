"""Stopping single threads of a run from outside its method, and the run when its time is up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf, isinf
from typing import Any

from reason.errors import BudgetExceeded, ThreadCancelled, ThreadStateError
from reason.tree import ThreadTree
from reason.types import Thread

GRACE = 5.0
"""Seconds that a method has, once its time is up, to make a result of what it holds: a vote takes
none, a scorer may take some."""


class Steering:
    """Which task works for which thread, and which threads were told to stop."""

    def __init__(self, tree: ThreadTree, exceed: Callable[[str], BudgetExceeded]) -> None:
        self._tree, self._exceed = tree, exceed
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._stopped: set[str] = set()
        self._deadline: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.expired = False
        """Whether the run's time is up."""
        self.late: set[str] = set()
        """Threads whose request is ended by that."""

    def cancel(self, thread: Thread) -> None:
        """Stop a thread and everything below it."""
        for other in self._tree.below(thread):
            if other.finish is None and other.id not in self._stopped:
                self._stopped.add(other.id)
                if other.id in self._running and other.id not in self.late:
                    self._running[other.id].cancel()

    def stopped(self, thread: Thread) -> bool:
        """Whether the thread was told to stop."""
        return thread.id in self._stopped

    def check(self, thread: Thread) -> None:
        """Raise ThreadCancelled for a thread that was told to stop."""
        if thread.id in self._stopped:
            raise ThreadCancelled(f"thread {thread.id} was cancelled")

    def idle(self, thread: Thread) -> None:
        """Raise ThreadCancelled for a thread that was told to stop, ThreadStateError for one that
        something is asked of already."""
        self.check(thread)
        if thread.id in self._running:
            raise ThreadStateError(f"thread {thread.id} is busy: one request at a time")

    def writable(self, thread: Thread) -> None:
        """Raise as `idle` does, and ThreadStateError for a thread that has ended."""
        self.idle(thread)
        if thread.finish is not None:
            raise ThreadStateError(f"thread {thread.id} has ended; a fork of it can go on")

    @contextmanager
    def working_for(self, thread: Thread) -> Iterator[None]:
        """While inside, `cancel` reaches the thread, and raises ThreadCancelled; the end of the
        run's time does, too, and raises BudgetExceeded."""
        self.idle(thread)
        if self.expired:
            raise self._exceed("seconds")
        task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._running[thread.id] = task
        try:
            yield
        except asyncio.CancelledError:
            # Goes on up if somebody else, too, wants the task to stop.
            ours = thread.id in self._stopped or thread.id in self.late
            if not ours or task.uncancel() > others:
                raise
            self.check(thread)
            raise self._exceed("seconds") from None
        finally:
            del self._running[thread.id]
            self.late.discard(thread.id)

    @asynccontextmanager
    async def timed(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """While inside, requests end with BudgetExceeded once so many seconds are over, and all of
        it ends with TimeoutError where the method has no result GRACE seconds later."""
        async with asyncio.timeout(None) as self._deadline:
            try:
                self.limit(seconds)
                yield self._deadline
            finally:
                self.limit(inf)
                self._deadline = None

    def limit(self, seconds: float) -> None:
        """Let the time be up so many seconds from now; never for infinity."""
        if self._deadline is None:  # the run is over
            return
        if self._timer:
            self._timer.cancel()
        self.expired = False
        loop, left = asyncio.get_running_loop(), max(seconds, 0.0)
        if not isinf(seconds):
            self._timer = loop.call_later(left, self._expire)
        with suppress(RuntimeError):  # its time just was
            self._deadline.reschedule(None if isinf(seconds) else loop.time() + left + GRACE)

    def _expire(self) -> None:
        self.expired = True
        self._exceed("seconds")
        for name, task in self._running.items():
            if name not in self._stopped:
                self.late.add(name)
                task.cancel()
