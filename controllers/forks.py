"""As many threads as the budget of a run has room for, where a method would have more."""

from collections.abc import Iterable

from reason.engine import Engine
from reason.errors import BudgetExceeded
from reason.types import Thread


def forks(engine: Engine, thread: Thread, count: int) -> list[Thread]:
    """Children that see its context: `count`, or as many as there is room for. Raises
    BudgetExceeded where there is none at all."""
    return as_many(engine.fork(thread) for _ in range(count))


def as_many(threads: Iterable[Thread], least: int = 1) -> list[Thread]:
    """Threads that are opened one by one, up to the first for which there is no room. Raises
    BudgetExceeded for fewer than `least`."""
    found: list[Thread] = []
    try:
        for thread in threads:
            found.append(thread)
    except BudgetExceeded:
        if len(found) < least:
            raise
    return found
