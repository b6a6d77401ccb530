"""Many threads at once: all of them, or as they finish."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from reason.errors import BudgetExceeded, ReasonError, ThreadCancelled
from reason.types import Finish, Thread

T = TypeVar("T")


class Close(Protocol):
    def __call__(self, thread: Thread, finish: Finish | None = None, detail: str = "") -> None: ...


async def map_threads(
    close: Close, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
) -> list[T | None]:
    """`fn` of every thread, run at once; None for one that fails. A bug stops all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(close, fn, thread)) for thread in threads]
    return [task.result() for task in tasks]


@asynccontextmanager
async def race_threads(
    close: Close, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
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

    tasks = [watch(thread) for thread in threads]
    try:
        yield finished()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for thread in threads:  # one that was stopped before it ever ran
            close(thread, "cancelled")


async def _run(close: Close, fn: Callable[[Thread], Awaitable[T]], thread: Thread) -> T | None:
    try:
        value = await fn(thread)
    except BudgetExceeded as error:
        close(thread, "budget", str(error))
        return None
    except ThreadCancelled as error:
        close(thread, "cancelled", str(error))
        return None
    except ReasonError as error:
        close(thread, "error", str(error))
        return None
    except asyncio.CancelledError:
        close(thread, "cancelled")
        raise
    close(thread)
    return value
