"""Stopping single threads of a run from outside its method, and the run when its time is up."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isinf
from typing import Any

from reason.errors import ReasonError, ThreadCancelled
from reason.tree import ThreadTree
from reason.types import Finish, Thread


class Steering:
    """Which task works for which thread, and which threads were told to stop."""

    def __init__(self, tree: ThreadTree) -> None:
        self._tree = tree
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._cancelled: set[str] = set()
        self.deadline: asyncio.Timeout | None = None

    def cancel(self, thread: Thread) -> None:
        """Stop a thread and everything below it."""
        for other in self._tree:
            below = other.id == thread.id or other.id.startswith(thread.id + ".")
            if below and other.finish is None:
                self._cancelled.add(other.id)
                if other.id in self._running:
                    self._running[other.id].cancel()

    def check(self, thread: Thread) -> None:
        """Raise ThreadCancelled for a thread that was told to stop."""
        if thread.id in self._cancelled:
            raise ThreadCancelled(f"thread {thread.id} was cancelled")

    @contextmanager
    def working_for(
        self, thread: Thread, ended: Callable[[Finish], object] | None = None
    ) -> Iterator[None]:
        """While inside, `cancel` reaches the thread. `ended` is told of any other way out."""
        self.check(thread)
        task = asyncio.current_task()
        assert task is not None
        self._running[thread.id] = task
        try:
            yield
        except asyncio.CancelledError:
            if ended:
                ended("cancelled")
            if thread.id not in self._cancelled:
                raise
            task.uncancel()
            self.check(thread)
        except ReasonError:
            if ended:
                ended("error")
            raise
        finally:
            del self._running[thread.id]

    def limit(self, seconds: float) -> None:
        """Let the run's deadline be this many seconds from now; infinity removes it."""
        if self.deadline is not None:
            now = asyncio.get_running_loop().time()
            self.deadline.reschedule(None if isinf(seconds) else now + seconds)
