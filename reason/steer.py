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

    def __init__(
        self,
        controller: Controller,
        answer: Callable[[str], str | None],
        allowed: Callable[[Budget], Budget] = lambda asked: asked,
    ) -> None:
        """`answer` finds it in what a thread wrote; `allowed` makes of a budget what there may be
        of it."""
        self._params = sampling_of(controller)
        self._answer, self._allowed = answer, allowed
        self.engine: Engine | None = None
        """That of the run, once there is one."""

    def __call__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def begun(self) -> bool:
        """Whether there is a thread to steer."""
        return self.engine is not None and len(self.engine.tree) > 0

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
        budget = self._allowed(build(Budget, limits, engine.ledger.budget, "budget."))
        engine.extend(budget)
        engine.note(root, "budget", {name: f"{getattr(budget, name):g}" for name in limits})

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        engine, found = self._found(thread)
        try:
            return engine.branch(found, hint, self._params, kept).id
        except ValueError as error:
            raise UsageError(f"thread {thread} cannot be forked there: {error}") from error

    async def pin(self, thread: str, answer: str | None = None) -> str:
        engine, found = self._going(thread)
        if answer is None:
            answer = self._written(engine, found)
        if not answer:
            raise UsageError(f"thread {thread} has written no answer yet: give one to pin")
        engine.pin(found, answer)
        return answer

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        engine, found = self._found(thread)
        return engine.backends[found.model].decode

    async def branches_over(self) -> None:
        """Wait for the branches that are still written once the run has ended."""
        if self.engine:
            await self.engine.branches.over()

    def _written(self, engine: Engine, thread: Thread) -> str | None:
        """The answer in what the thread wrote, with what ends a thread or without."""
        end = engine.excerpt(thread, engine.unended(thread)).text
        texts = (thread.text, thread.text.removesuffix(end))
        return next(filter(None, (self._answer(text) for text in texts if text)), None)

    def _going(self, thread: str) -> tuple[Engine, Thread]:
        engine, found = self._found(thread)
        if engine.tree.root.finish is not None:
            raise UsageError("the run is over: its answer and its budget stay as they are")
        return engine, found

    def _found(self, thread: str) -> tuple[Engine, Thread]:
        engine = self.engine
        if engine is None or not len(engine.tree):
            raise UsageError("the run has not begun: no thread is open")
        if thread not in engine.tree:
            ids = [each.id for each in engine.tree]
            more = f", … ({len(ids)} in all)" if len(ids) > 12 else ""
            raise UsageError(
                f"no thread is called {thread!r}; there is: {', '.join(ids[:12])}{more}"
            )
        return engine, engine.tree[thread]


def sampling_of(controller: Controller) -> SamplingParams:
    """How a method, or the first inside it that says so, samples its threads; what stops a segment
    for the method's own sake is left out."""
    for _, each in nested(controller):
        found: Any = getattr(each, "sampling", None)
        if isinstance(found, SamplingParams):
            return replace(found, stop=(), grammar=None)
    return SamplingParams()
