"""Stopping single threads of a run from outside its method, and the run when its time is up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isinf
from typing import Any

from reason.errors import ThreadCancelled, ThreadStateError
from reason.tree import ThreadTree
from reason.types import Thread


class Steering:
    """Which task works for which thread, and which threads were told to stop."""

    def __init__(self, tree: ThreadTree) -> None:
        self._tree = tree
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._stopped: set[str] = set()
        self.deadline: asyncio.Timeout | None = None

    def cancel(self, thread: Thread) -> None:
        """Stop a thread and everything below it."""
        for other in self._tree.below(thread):
            if other.finish is None and other.id not in self._stopped:
                self._stopped.add(other.id)
                if other.id in self._running:
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
        """While inside, `cancel` reaches the thread, and raises ThreadCancelled."""
        self.idle(thread)
        task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._running[thread.id] = task
        try:
            yield
        except asyncio.CancelledError:
            # Goes on up if somebody else, too, wants the task to stop.
            if thread.id not in self._stopped or task.uncancel() > others:
                raise
            self.check(thread)
        finally:
            del self._running[thread.id]

    def limit(self, seconds: float) -> None:
        """Let the run's deadline be this many seconds from now; infinity removes it."""
        if self.deadline is not None:
            when = None if isinf(seconds) else asyncio.get_running_loop().time() + seconds
            with suppress(RuntimeError):  # the run is over, or its time just was
                self.deadline.reschedule(when)
