"""What a command works in: a terminal, a model that is loaded and closed, and Ctrl-C.

Imports inside functions: `reason --help` answers before any of them.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from reason.command import stoppable

if TYPE_CHECKING:
    from rich.console import Console

    from reason.backends.base import Backend


def terminal() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False)


def connected(spec: str, console: "Console") -> "Backend":
    """The model that `spec` names; a terminal is told that it is being loaded."""
    from reason.backends.connect import connect

    if not console.is_terminal:
        return connect(spec)
    with console.status("loading the model") as status:
        return connect(spec, status.update)


def run(
    work: Coroutine[Any, Any, int],
    model: "Backend | None" = None,
    kept: Callable[[], str] = str,
) -> int:
    """Do the work, then close the model; the exit code. `kept` says what Ctrl-C leaves."""
    import asyncio

    async def all_of_it() -> int:
        try:
            return await work
        finally:
            if model:
                await model.close()

    with stoppable(kept):
        return asyncio.run(all_of_it())
