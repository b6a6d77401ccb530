"""The verbs that methods are written in.

An Engine runs the threads of one problem and tells what happens as events. It is cheap: one per
run, on shared backends.
"""

import asyncio
import hashlib
import inspect
import time
from bisect import bisect_right
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeVar

from reason import fanout
from reason.backends.base import Backend
from reason.errors import BudgetExceeded, Unsupported, UsageError
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.ledger import Budget, Ledger
from reason.steering import Steering
from reason.tree import ThreadTree
from reason.types import Finish, Prompt, SamplingParams, Segment, Thread

Sink = Callable[[Event], object]
"""Gets every event as it happens; must be quick, is never awaited."""
Scorer = Callable[[Thread, str | None], float | Awaitable[float]]
"""Rates a finished thread and the answer found in it; higher is better."""
T = TypeVar("T")


class Engine:
    """The threads of one run. Raises UsageError for a model or scorer it was not given."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        budget: Budget | None = None,
        sinks: Iterable[Sink] = (),
        scorers: Mapping[str, Scorer] | None = None,
        seed: int | str | None = None,
    ) -> None:
        self.backends = backends
        self.tree = ThreadTree()
        self.ledger = Ledger(budget or Budget())
        self.scorers = dict(scorers or {})
        self.seed = seed
        self.exceeded: BudgetExceeded | None = None
        """The first limit of the budget that was hit."""
        self._sinks = (self.tree.apply, self.ledger.apply, *sinks)
        self._born = time.monotonic()
        self._steering = Steering(self.tree)

    # Threads

    def open(self, prompt: Prompt, model: str = "policy") -> Thread:
        """Start the root thread."""
        return self._open("0", model, prompt=self._backend(model).encode(prompt))

    def fork(self, thread: Thread, kept: int | None = None) -> Thread:
        """A child that sees the parent's context: its first `kept` tokens, or all of it."""
        kept = thread.length if kept is None else kept
        if not 0 < kept <= thread.length:
            raise ValueError(f"kept must be in 1..{thread.length}, got {kept}")
        return self._open(self._child_id(thread), thread.model, parent=thread, kept=kept)

    def spawn(self, thread: Thread, prompt: Prompt, model: str | None = None) -> Thread:
        """A child that starts afresh from its own prompt, on another model if asked."""
        model = model or thread.model
        ids = self._backend(model).encode(prompt)
        return self._open(self._child_id(thread), model, parent=thread, prompt=ids)

    def locate(self, thread: Thread, character: int) -> int:
        """How many tokens of the context lie wholly before that character of its last segment."""
        last = thread.segments[-1]
        decode = self._backend(thread.model).decode
        before = bisect_right(
            range(len(last.ids) + 1), character, key=lambda n: len(decode(last.ids[:n]))
        )
        return thread.length - len(last.ids) + max(before - 1, 0)

    def append(self, thread: Thread, what: str | Sequence[Segment]) -> None:
        """Add text, or segments copied token for token, that the model did not write here."""
        if isinstance(what, str):
            what = [Segment("injected", what, self._backend(thread.model).encode(what))]
        for segment in what:
            self._emit(
                Tokens(
                    thread=thread.id,
                    segment=len(thread.segments),
                    origin="injected",
                    text=segment.text,
                    ids=tuple(segment.ids),
                    at=self._at(),
                )
            )

    def join(self, thread: Thread, children: Iterable[Thread]) -> None:
        """The thread has waited for these children: its clock moves to the slowest of them."""
        self._emit(Joined(thread=thread.id, children=tuple(c.id for c in children), at=self._at()))

    def note(self, thread: Thread, name: str, value: Any) -> None:
        """Put a decision on record: a vote, a score, a rejection."""
        self._emit(Noted(thread=thread.id, name=name, value=value, at=self._at()))

    def close(self, thread: Thread, finish: Finish | None = None, detail: str = "") -> None:
        """End a thread; without a reason given, with that of its last segment."""
        if thread.finish is None:
            last = thread.segments[-1].finish if thread.segments else None
            reason = finish or last or "eos"
            self._emit(Closed(thread=thread.id, finish=reason, detail=detail, at=self._at()))

    # Sampling

    async def generate(self, thread: Thread, params: SamplingParams) -> Segment:
        """Sample one segment, until a stop string, the end of text or `max_tokens`.

        Raises BudgetExceeded when a limit of the run ends it; what was sampled is kept.
        """
        self._steering.check(thread)
        index = len(thread.segments)
        room, limit = self.ledger.room(thread)
        params = params.but(
            max_tokens=int(min(params.max_tokens, room)), seed=self._seed(thread, index, params)
        )
        bound = params.max_tokens == room
        if not params.max_tokens:
            self._emit(self._ended(thread, index, "budget" if bound else "length"))
        else:
            await self._sample(thread, index, params, bound)
        segment = thread.segments[index]
        if segment.finish == "budget":
            raise self.exceed(limit if bound else self.ledger.room(thread)[1])
        return segment

    async def _sample(
        self, thread: Thread, index: int, params: SamplingParams, bound: bool
    ) -> None:
        ledger, finish = self.ledger, None
        stream = self._backend(thread.model).generate(thread.ids, params)

        def ended(how: Finish) -> None:
            self._emit(self._ended(thread, index, how))

        with self._steering.working_for(thread, ended):
            async with aclosing(stream) as chunks:
                async for c in chunks:
                    finish = c.finish
                    if finish == "length" and bound:
                        finish = "budget"
                    usage = c.usage
                    self._emit(
                        Tokens(
                            thread=thread.id,
                            segment=index,
                            origin="sampled",
                            text=c.text,
                            ids=c.ids,
                            logprobs=c.logprobs,
                            finish=finish,
                            stopped_at=c.stopped_at,
                            version=c.version,
                            prompt_tokens=usage.prompt_tokens if usage else 0,
                            cached_tokens=usage.cached_tokens if usage else 0,
                            at=time.monotonic() - self._born,
                        )
                    )
                    if finish or ledger.total_tokens >= ledger.budget.total_tokens:
                        break
        if finish is None:  # siblings spent what was left of the total
            ended("budget")

    async def score(self, thread: Thread, model: str | None = None) -> list[float]:
        """Log-probabilities of the thread's last segment, under its own or another model.

        Raises Unsupported if that model has another tokenizer.
        """
        own, judge = self._backend(thread.model), self._backend(model or thread.model)
        if judge.info.tokenizer != own.info.tokenizer:
            raise Unsupported(
                f"{judge.info.model} cannot score token ids of {own.info.model}: "
                "their tokenizers differ"
            )
        start = thread.length - len(thread.segments[-1].ids)
        with self._steering.working_for(thread):
            return await judge.score(thread.ids, start)

    async def rate(self, thread: Thread, answer: str | None, scorer: str) -> float:
        """What the scorer of that name says of a thread and the answer found in it."""
        if scorer not in self.scorers:
            known = ", ".join(sorted(self.scorers)) or "none"
            raise UsageError(f"no scorer is called {scorer!r}; there is: {known}")
        value = self.scorers[scorer](thread, answer)
        return await value if inspect.isawaitable(value) else value

    # Concurrency: a thread is closed by the call that ran it

    async def map(
        self, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
    ) -> list[T | None]:
        """Run `fn` on every thread at once; a thread that fails yields None, a bug stops all."""
        return await fanout.map_threads(self.close, fn, threads)

    def race(
        self, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
    ) -> AbstractAsyncContextManager[AsyncIterator[Thread]]:
        """Like `map`, but hands threads over as they finish; leaving the block stops the rest."""
        return fanout.race_threads(self.close, fn, threads)

    # Steering, from outside a method

    def cancel(self, thread: Thread) -> None:
        """Stop a thread and everything below it; a parent that waits for it goes on without."""
        self._steering.cancel(thread)

    def extend(self, budget: Budget) -> None:
        """Go on under another budget."""
        self.ledger.budget = budget
        self._steering.limit(budget.seconds - self._at())

    def limit_seconds(self, deadline: asyncio.Timeout) -> None:
        """Let this timeout, in which the run takes place, follow the budget's seconds."""
        self._steering.deadline = deadline
        self.extend(self.ledger.budget)

    def exceed(self, limit: str) -> BudgetExceeded:
        """Put on record that this limit was hit; the error to raise."""
        allowed = getattr(self.ledger.budget, limit)
        error = BudgetExceeded(limit, f"{limit} reached its limit of {allowed:g}")
        self.exceeded = self.exceeded or error
        return error

    # Events

    def _open(
        self,
        thread_id: str,
        model: str,
        *,
        parent: Thread | None = None,
        kept: int = 0,
        prompt: Sequence[int] = (),
    ) -> Thread:
        full = self.ledger.full(parent.depth + 1 if parent else 0)
        if full:
            raise self.exceed(full)
        if parent:
            self._steering.check(parent)
        self._emit(
            Opened(
                thread=thread_id,
                model=model,
                parent=parent.id if parent else None,
                kept=kept,
                at=self._at(),
            )
        )
        thread = self.tree[thread_id]
        if prompt:
            text = self._backend(model).decode(prompt)
            self._emit(
                Tokens(
                    thread=thread_id,
                    segment=0,
                    origin="prompt",
                    text=text,
                    ids=tuple(prompt),
                    at=self._at(),
                )
            )
        return thread

    def _ended(self, thread: Thread, segment: int, finish: Finish) -> Tokens:
        return Tokens(
            thread=thread.id, segment=segment, origin="sampled", finish=finish, at=self._at()
        )

    def _emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink(event)

    def _at(self) -> float:
        return time.monotonic() - self._born

    def _backend(self, model: str) -> Backend:
        if model not in self.backends:
            known = ", ".join(sorted(self.backends))
            raise UsageError(f"no model has the role {model!r}; there is: {known}")
        return self.backends[model]

    def _child_id(self, thread: Thread) -> str:
        return f"{thread.id}.{thread.children}"

    def _seed(self, thread: Thread, segment: int, params: SamplingParams) -> int | None:
        """Depends on the place in the tree, not on who ran first."""
        base = params.seed if self.seed is None else self.seed
        if base is None:
            return None
        digest = hashlib.blake2b(f"{base}/{thread.id}/{segment}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) >> 1
