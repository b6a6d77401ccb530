"""What a person adds to a run from outside its method: threads that go on from a point of another
one, with a hint, and an answer that is held on to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reason.errors import ReasonError, finish_of
from reason.fanout import Close
from reason.types import Finish, Result, Thread


class Branches:
    """The branches of one run that are being written."""

    def __init__(self, close: Close) -> None:
        self._close = close
        self._tasks: dict[asyncio.Task[None], Thread] = {}
        self.open: set[str] = set()
        """Ids of those that are being written: they outlive the thread that they were forked from.
        """
        self.pinned: Result | None = None
        """What was pinned last."""

    def add(self, thread: Thread, write: Callable[[], Awaitable[Any]]) -> None:
        """Let it be written, and closed at its end; its failure is data."""
        self.open.add(thread.id)
        task = asyncio.create_task(self._write(thread, write))
        self._tasks[task] = thread
        task.add_done_callback(self._tasks.pop)

    async def over(self) -> None:
        """Wait for all of them. A bug in one goes on up; whoever is cancelled here stops them."""
        while self._tasks:
            try:
                await asyncio.gather(*self._tasks)
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """End those that are still written."""
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for thread in tasks.values():  # those that had not begun
            if thread.id in self.open:
                self._end(thread, "cancelled")

    async def _write(self, thread: Thread, write: Callable[[], Awaitable[Any]]) -> None:
        ending: Finish | None = None
        detail = ""
        try:
            await write()
        except BaseException as error:
            ending, detail = finish_of(error), str(error)
            if not isinstance(error, ReasonError):
                raise
        finally:
            self._end(thread, ending, detail)

    def _end(self, thread: Thread, ending: Finish | None, detail: str = "") -> None:
        self.open.discard(thread.id)
        self._close(thread, ending, detail)
