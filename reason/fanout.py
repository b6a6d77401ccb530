"""Many threads at once: all of them, or as they finish."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

from reason.errors import ReasonError, finish_of
from reason.types import Finish, Thread

T = TypeVar("T")


class Close(Protocol):
    def __call__(self, thread: Thread, finish: Finish | None = None, detail: str = "") -> None: ...


Join = Callable[[Thread, Iterable[Thread]], object]


async def map_threads(
    close: Close, join: Join, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
) -> list[T | None]:
    """`fn` of every thread, run at once; None for one that fails. A bug stops all."""
    with _waiting(join, threads):
        tasks = [asyncio.create_task(_run(close, fn, thread)) for thread in threads]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await _stop(close, tasks, threads)
    for task in tasks:  # the bug comes before those that were stopped because of it
        if not task.cancelled():
            task.result()
    return [task.result() for task in tasks]


@asynccontextmanager
async def race_threads(
    close: Close, join: Join, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
) -> AsyncIterator[AsyncIterator[Thread]]:
    """Threads as they finish, failed ones too; leaving the block stops the rest and waits."""
    done: asyncio.Queue[tuple[Thread, asyncio.Task[T | None]]] = asyncio.Queue()

    def watch(thread: Thread) -> asyncio.Task[T | None]:
        task = asyncio.create_task(_run(close, fn, thread))
        task.add_done_callback(lambda _: done.put_nowait((thread, task)))
        return task

    async def finished() -> AsyncIterator[Thread]:
        for _ in threads:
            thread, task = await done.get()
            task.result()  # a bug in a thread surfaces here
            yield thread

    with _waiting(join, threads):
        tasks = [watch(thread) for thread in threads]
        try:
            yield finished()
        finally:
            await _stop(close, tasks, threads)
    for task in tasks:
        if not task.cancelled():
            task.result()  # or here, if the block was left before it was seen


@contextmanager
def _waiting(join: Join, threads: Sequence[Thread]) -> Iterator[None]:
    """Who is stopped while it waits has waited for as long as these threads wrote until then."""
    try:
        yield
    except BaseException:
        for parent in dict.fromkeys(thread.parent for thread in threads):
            if parent:
                join(parent, [thread for thread in threads if thread.parent is parent])
        raise


async def _run(close: Close, fn: Callable[[Thread], Awaitable[T]], thread: Thread) -> T | None:
    """A thread is closed by the call that ran it. Its failure is data, a bug goes on up."""
    try:
        value = await fn(thread)
    except ReasonError as error:
        close(thread, finish_of(error), str(error))
        return None
    except BaseException as error:
        close(thread, finish_of(error), str(error))
        raise
    close(thread)
    return value


async def _stop(
    close: Close, tasks: Sequence[asyncio.Task[Any]], threads: Sequence[Thread]
) -> None:
    """Cancel what still runs and see it end, even if this is cancelled meanwhile."""
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    for thread in threads:  # one that was stopped before it ever ran
        close(thread, "cancelled")
    if cancelled:
        raise cancelled
