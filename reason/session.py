"""What a command works in: a terminal, a model that is loaded and closed, and Ctrl-C.

Imports inside functions: `reason --help` answers before any of them.
"""

import gc
import warnings
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from reason.command import stoppable
from reason.config import Values
from reason.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from reason.backends.base import Backend


def terminal() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False)


def connected(spec: str, tables: Values, console: "Console") -> "dict[str, Backend]":
    """Every model by its role: `spec` as "policy", and those of `backends.ROLE=SPEC`.

    A terminal is told what is being waited for, and everyone what the models warn of.
    """
    from rich.console import Console

    from reason.backends.connect import connect

    others = tables.get("backends", {})
    if not isinstance(others, Mapping):
        raise UsageError(f"backends has keys of its own: give backends.ROLE=SPEC, not {others!r}")
    if spec and "policy" in others:
        raise UsageError("the policy is given twice: by --backend, and by backends.policy")
    specs = {"policy": spec, **others}
    models: dict[str, Backend] = {}
    shown = console.status("loading the model") if console.is_terminal else nullcontext()
    with warnings.catch_warnings(record=True) as caught, shown as status:
        warnings.simplefilter("always", UserWarning)
        try:
            for role, of_role in specs.items():
                models[role] = connect(of_role, status.update if status else lambda line: None)
        except BaseException:
            close(models)
            raise
    # A full collection would go through all that was loaded, 0.15 s in which no thread moves.
    gc.freeze()
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            Console(stderr=True).print(str(warning.message), style="yellow", markup=False)
    return models


def run(
    work: Coroutine[Any, Any, int],
    models: "Mapping[str, Backend] | None" = None,
    kept: Callable[[], str] = str,
    virtual: bool = False,
) -> int:
    """Do the work, then close the models; the exit code. `kept` says what Ctrl-C leaves.

    On a virtual clock nothing takes the time that was recorded of it.
    """
    import asyncio

    from reason.virtual import VirtualLoop

    async def all_of_it() -> int:
        try:
            return await work
        finally:
            for model in (models or {}).values():
                await model.close()

    with stoppable(kept), asyncio.Runner(loop_factory=VirtualLoop if virtual else None) as runner:
        return runner.run(all_of_it())


def close(models: "Mapping[str, Backend]") -> None:
    """Close models with which no work was begun."""
    import asyncio

    async def all_of_them() -> None:
        for model in models.values():
            await model.close()

    asyncio.run(all_of_them())
