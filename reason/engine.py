"""The verbs that methods are written in.

An Engine runs the threads of one problem and tells what happens as events. It is cheap: one per
run, on shared backends.
"""

import asyncio
import copy
import inspect
import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from reason import fanout
from reason.backends.base import Backend
from reason.backends.pool import Pool
from reason.branches import Branches
from reason.errors import BudgetExceeded, Unsupported, UsageError
from reason.journal import Journal
from reason.journal import Sink as Sink
from reason.ledger import Budget
from reason.sampling import Enough, Sampling, parallel
from reason.steering import Steering
from reason.types import Contexts, Finish, Layout, Prompt, Result, SamplingParams, Segment, Thread

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
        self.backends = {
            name: backend.worker() if isinstance(backend, Pool) else backend
            for name, backend in backends.items()
        }
        self._journal = Journal(budget or Budget(), sinks)
        self.tree, self.ledger = self._journal.tree, self._journal.ledger
        self.scorers = dict(scorers or {})
        self._steering = Steering(self.tree, self._journal.exceed)
        self._sampling = Sampling(self._backend, self._journal, self._steering, seed)
        self.branches = Branches(self.close)
        self._above: Thread | None = None

    @property
    def exceeded(self) -> BudgetExceeded | None:
        """The first limit of the budget that was hit."""
        return self._journal.exceeded

    def below(self, thread: Thread) -> "Engine":
        """The same run, for a method inside a method. Its root goes on in the place of `thread`,
        one for each call, with a prompt of its own."""
        inner = copy.copy(self)
        inner._above = thread
        return inner

    # Threads

    def open(self, prompt: Prompt, model: str = "policy") -> Thread:
        """Start the root thread. Raises Unsupported for contexts that the model cannot read side
        by side."""
        ids, layout = self._encode(prompt, model)
        if self._above:
            name, above = self._child_id(self._above), self._above
            return self._open(name, model, parent=above, continues=True, prompt=ids, layout=layout)
        if len(self.tree):
            raise ValueError("a run has one root, which is open already")
        return self._open("0", model, prompt=ids, layout=layout)

    def fork(self, thread: Thread, kept: int | None = None, *, continues: bool = False) -> Thread:
        """A child that sees the parent's context: its first `kept` tokens, or all of it.

        One that `continues` goes on in the parent's place: no other line of reasoning, so that
        budget and account do not count it.
        """
        kept = thread.length if kept is None else kept
        least = thread.layout.end if thread.layout else 1
        if not least <= kept <= thread.length:
            raise ValueError(f"kept must be in {least}..{thread.length}, got {kept}")
        name = self._child_id(thread)
        return self._open(name, thread.model, parent=thread, kept=kept, continues=continues)

    def spawn(self, thread: Thread, prompt: Prompt, model: str | None = None) -> Thread:
        """A child that starts afresh from its own prompt, on another model if asked."""
        model = model or thread.model
        ids, layout = self._encode(prompt, model)
        return self._open(self._child_id(thread), model, parent=thread, prompt=ids, layout=layout)

    def locate(self, thread: Thread, character: int) -> int:
        """How many tokens of the context lie wholly before that character of its last segment."""
        last = thread.segments[-1]
        decode = self._backend(thread.model).decode
        before = bisect_right(
            range(len(last.ids) + 1), character, key=lambda n: len(decode(last.ids[:n]))
        )
        return thread.length - len(last.ids) + max(before - 1, 0)

    def excerpt(self, thread: Thread, start: int, end: int | None = None) -> Segment:
        """The tokens `start` to `end` of a thread's context, to be added to another one."""
        ids = thread.ids[start:end]
        return Segment("injected", self._backend(thread.model).decode(ids), ids)

    def unended(self, thread: Thread) -> int:
        """Tokens of its context without the end-of-sequence token, if it has ended with one."""
        ended = thread.length and thread.ids[-1] in self._backend(thread.model).info.ends
        return thread.length - bool(ended)

    def append(self, thread: Thread, what: str | Sequence[Segment]) -> None:
        """Add text, or segments copied token for token, that the model did not write here.

        Raises ThreadStateError for a thread that is being written, or has ended.
        """
        self._steering.writable(thread)
        if isinstance(what, str):
            what = [Segment("injected", what, self._backend(thread.model).encode(what))]
        for segment in what:
            self._journal.added(thread, "injected", segment.text, segment.ids)

    def chance(self, thread: Thread, name: str) -> random.Random:
        """Where a method draws lots: what it draws depends on the run's seed, the thread and the
        name only."""
        return random.Random(self._sampling.seed_at(f"{thread.id}/{name}"))

    def same_tokens(self, a: str, b: str) -> bool:
        """Whether the ids of one model's tokens stand for the same ones of another."""
        one, other = self._backend(a).info, self._backend(b).info
        if one.tokens and other.tokens:
            return one.tokens == other.tokens
        return one.tokenizer == other.tokenizer

    def measure(self, thread: Thread, text: str) -> int:
        """Tokens of a text for the thread's model."""
        return len(self._backend(thread.model).encode(text))

    def join(self, thread: Thread, children: Iterable[Thread]) -> None:
        """The thread has waited for these children: its clock moves to the slowest of them."""
        self._journal.joined(thread, children)

    def note(self, thread: Thread, name: str, value: Any) -> None:
        """Put a decision on record: a vote, a score, a rejection."""
        self._journal.noted(thread, name, value)

    def close(self, thread: Thread, finish: Finish | None = None, detail: str = "") -> None:
        """End a thread and what is still open below it, but for branches; without a reason given,
        each with that of its last segment."""
        for each in reversed(list(self.tree.below(thread))):  # children before their parents
            if each.finish is None and each.id not in self.branches.open:
                last = each.segments[-1].finish if each.segments else None
                stopped: Finish | None = "cancelled" if self._steering.stopped(each) else None
                self._journal.closed(each, stopped or finish or last or "eos", detail)

    # Sampling

    async def generate(
        self,
        thread: Thread,
        params: SamplingParams,
        enough: Enough | None = None,
    ) -> Segment:
        """Sample one segment, until a stop string, the end of text or `max_tokens`.

        `enough` is asked after every chunk, and ends the segment when it is true: finish "stop".
        Raises BudgetExceeded when a limit of the run ends it; what was sampled is kept.
        """
        return await self._sampling.generate(thread, params, enough)

    async def score(self, thread: Thread, model: str | None = None) -> list[float]:
        """Log-probabilities of the thread's last segment, under its own or another model.

        Raises Unsupported if that model has another tokenizer.
        """
        own, judge = self._backend(thread.model), self._backend(model or thread.model)
        if not self.same_tokens(thread.model, model or thread.model):
            raise Unsupported(
                f"{judge.info.model} cannot score token ids of {own.info.model}: "
                "their tokenizers differ"
            )
        start = thread.length - len(thread.segments[-1].ids)
        with self._steering.working_for(thread):
            if thread.layout:
                return await parallel(judge).score_parallel(thread.ids, thread.layout, start)
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
        return await fanout.map_threads(self.close, self.join, fn, threads)

    def race(
        self, fn: Callable[[Thread], Awaitable[T]], threads: Sequence[Thread]
    ) -> AbstractAsyncContextManager[AsyncIterator[Thread]]:
        """Like `map`, but hands threads over as they finish; leaving the block stops the rest."""
        return fanout.race_threads(self.close, self.join, fn, threads)

    # Steering, from outside a method

    def check(self, thread: Thread) -> None:
        """Raise ThreadCancelled for a thread that was told to stop."""
        self._steering.check(thread)

    def cancel(self, thread: Thread) -> None:
        """Stop a thread and everything below it; a parent that waits for it goes on without."""
        self._steering.cancel(thread)

    def extend(self, budget: Budget) -> None:
        """Go on under another budget."""
        self.ledger.budget = budget
        self._steering.limit(budget.seconds - self._journal.now())

    def branch(
        self, thread: Thread, hint: str, params: SamplingParams, kept: int | None = None
    ) -> Thread:
        """Go on beside the method from a point of a thread, open or ended: with `kept` of its
        tokens and a hint. The run waits for it.

        Raises as `fork` does, and Unsupported for a model of which a thread is a chat.
        """
        info = self._backend(thread.model).info
        if not info.token_ids:
            raise Unsupported(f"{info.model} answers chats: its threads cannot be gone on with")
        made = self.fork(thread, kept)
        if hint:
            self.append(made, hint)
        self.note(made, "hint", hint)
        self.branches.add(made, lambda: self.generate(made, params))
        return made

    def pin(self, thread: Thread, answer: str) -> None:
        """Let this be the run's answer, whatever the method finds; the last one counts."""
        self.note(thread, "pinned", answer)
        self.branches.pinned = Result(answer, thread.id, {"pinned": True})

    def timed(self) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """In which the run takes place, so that it follows the budget's seconds."""
        return self._steering.timed(self.ledger.budget.seconds - self._journal.now())

    def exceed(self, limit: str) -> BudgetExceeded:
        """Put on record that this limit was hit; the error to raise."""
        return self._journal.exceed(limit)

    def _open(
        self,
        thread_id: str,
        model: str,
        *,
        parent: Thread | None = None,
        kept: int = 0,
        continues: bool = False,
        prompt: Sequence[int] = (),
        layout: Layout | None = None,
    ) -> Thread:
        full = None if continues else self.ledger.full(parent.depth + 1 if parent else 0)
        if full:
            raise self.exceed(full)
        if parent:
            self._steering.check(parent)
        thread = self._journal.opened(thread_id, model, parent, kept, continues, layout)
        if prompt:
            self._journal.added(thread, "prompt", self._backend(model).decode(prompt), prompt)
        return thread

    def _backend(self, model: str) -> Backend:
        if model not in self.backends:
            known = ", ".join(sorted(self.backends))
            raise UsageError(f"no model has the role {model!r}; there is: {known}")
        return self.backends[model]

    def _encode(self, prompt: Prompt, model: str) -> tuple[list[int], Layout | None]:
        if isinstance(prompt, Contexts) and prompt.parallel:
            return parallel(self._backend(model)).encode_contexts(prompt)
        ids = self._backend(model).encode(prompt)
        if not ids:
            raise UsageError("the prompt is empty")
        return ids, None

    def _child_id(self, thread: Thread) -> str:
        return f"{thread.id}.{thread.children}"
