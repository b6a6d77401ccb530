"""Changing a run while it goes on, by the ids of its threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from reason.config import build
from reason.engine import Engine
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller, nested
from reason.types import SamplingParams, Thread


class Steer(Protocol):
    """The same for a run in this process and for one on a server. Raises UsageError for a thread
    that does not exist or cannot do it, BackendError where a server does not."""

    async def cancel(self, thread: str) -> None:
        """Stop a thread and all below it; the run goes on without them."""
        ...

    async def stop(self) -> None:
        """Stop all of it. A pinned answer is its result all the same."""
        ...

    async def extend(self, limits: Mapping[str, Any]) -> None:
        """Put these limits in the place of those of the budget: total_tokens, critical_path, …"""
        ...

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        """Go on beside the method from a thread's first `kept` tokens, all of them without, with a
        hint added; the id of the new thread."""
        ...

    async def pin(self, thread: str, answer: str | None = None) -> str:
        """Let this be the run's answer, without words the one that the thread has written; which
        that is."""
        ...

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        """Makes text of the thread's token ids; None where only the model's host can."""
        ...


class LocalSteer:
    """Of a run in this process. Handed to `solve` as `steer`, it is told the engine."""

    def __init__(self, controller: Controller, answer: Callable[[str], str | None]) -> None:
        self._params = sampling_of(controller)
        self._answer = answer
        self._engine: Engine | None = None

    def __call__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def begun(self) -> bool:
        """Whether there is a thread to steer."""
        return self._engine is not None and len(self._engine.tree) > 0

    async def cancel(self, thread: str) -> None:
        engine, found = self._found(thread)
        if found.finish is not None:
            raise UsageError(f"thread {thread} has ended ({found.finish}): nothing of it can stop")
        engine.cancel(found)

    async def stop(self) -> None:
        engine, root = self._found("0")
        engine.cancel(root)

    async def extend(self, limits: Mapping[str, Any]) -> None:
        engine, root = self._going("0")
        engine.extend(build(Budget, limits, engine.ledger.budget, "budget."))
        engine.note(root, "budget", {name: str(value) for name, value in limits.items()})

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        engine, found = self._found(thread)
        try:
            return engine.branch(found, hint, self._params, kept).id
        except ValueError as error:
            raise UsageError(f"thread {thread} cannot be forked there: {error}") from error

    async def pin(self, thread: str, answer: str | None = None) -> str:
        engine, found = self._going(thread)
        answer = answer or self._answer(found.text)
        if not answer:
            raise UsageError(f"thread {thread} has written no answer yet: give one to pin")
        engine.pin(found, answer)
        return answer

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        engine, found = self._found(thread)
        return engine.backends[found.model].decode

    async def branches_over(self) -> None:
        """Wait for the branches that are still written once the run has ended."""
        if self._engine:
            await self._engine.branches.over()

    def _going(self, thread: str) -> tuple[Engine, Thread]:
        engine, found = self._found(thread)
        if engine.tree.root.finish is not None:
            raise UsageError("the run is over: its answer and its budget stay as they are")
        return engine, found

    def _found(self, thread: str) -> tuple[Engine, Thread]:
        engine = self._engine
        if engine is None or not len(engine.tree):
            raise UsageError("the run has not begun: no thread is open")
        if thread not in engine.tree:
            ids = [each.id for each in engine.tree]
            more = f", … ({len(ids)} in all)" if len(ids) > 12 else ""
            raise UsageError(
                f"no thread is called {thread!r}; there is: {', '.join(ids[:12])}{more}"
            )
        return engine, engine.tree[thread]


class PlayedSteer:
    """Of a run that is only played back: nothing can be changed any more."""

    async def cancel(self, thread: str) -> None:
        raise self._over()

    async def stop(self) -> None:
        raise self._over()

    async def extend(self, limits: Mapping[str, Any]) -> None:
        raise self._over()

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        raise self._over()

    async def pin(self, thread: str, answer: str | None = None) -> str:
        raise self._over()

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        return None

    def _over(self) -> UsageError:
        return UsageError("this run is a recording: it can be looked at, not changed")


def sampling_of(controller: Controller) -> SamplingParams:
    """How a method, or the first inside it that says so, samples its threads; what stops a segment
    for the method's own sake is left out."""
    for _, each in nested(controller):
        found: Any = getattr(each, "sampling", None)
        if isinstance(found, SamplingParams):
            return replace(found, stop=(), grammar=None)
    return SamplingParams()
