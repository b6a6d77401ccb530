"""Runs on the scripted backend, checked for what holds of every run, however it ended."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reason.backends.base import Backend
from reason.backends.scripted import Script, ScriptedBackend
from reason.condenser import Condenser
from reason.engine import Engine, Scorer
from reason.events import Closed, Event, Opened, Tokens
from reason.ledger import Budget, Ledger
from reason.run import Controller, Trajectory, solve
from reason.tree import ThreadTree
from reason.types import Prompt, Result

Body = Callable[[Engine, Prompt], Awaitable[Result]]


@dataclass(frozen=True)
class Method:
    """A controller made of a function."""

    name: ClassVar[str] = "method"
    body: Body

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        return await self.body(engine, prompt)


@dataclass
class Run:
    """A run under observation: its events, and the engine that steers it."""

    method: Controller | Body
    backend: Backend | Script
    prompt: Prompt = "Q"
    budget: Budget | None = None
    seed: int | str | None = None
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    others: Mapping[str, Backend] = field(default_factory=dict)
    sinks: list[Callable[[Event], object]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    engine: Engine | None = None

    async def go(self) -> Trajectory:
        """Run to the end and check it; checks as well when an error goes on up."""
        if callable(self.backend):
            self.backend = ScriptedBackend(self.backend)
        method: Any = self.method
        if not hasattr(method, "__dataclass_fields__"):
            method = Method(method)
        before = asyncio.all_tasks()
        try:
            return await solve(
                method,
                self.prompt,
                {"policy": self.backend, **self.others},
                budget=self.budget,
                sinks=[self.events.append, *self.sinks],
                scorers=self.scorers,
                seed=self.seed,
                steer=self._steer,
            )
        finally:
            assert asyncio.all_tasks() <= before, "tasks left behind"
            self.check()

    def _steer(self, engine: Engine) -> None:
        self.engine = engine

    def check(self) -> None:
        """What holds of every run."""
        engine = self.engine
        assert engine is not None
        tree, ledger = engine.tree, engine.ledger
        for backend in (self.backend, *self.others.values()):
            if isinstance(backend, ScriptedBackend):
                assert backend.running == 0, "a request still runs"
        opened = Counter(e.thread for e in self.events if isinstance(e, Opened))
        closed = Counter(e.thread for e in self.events if isinstance(e, Closed))
        assert opened == closed == Counter(thread.id for thread in tree)
        assert set(opened.values()) <= {1}
        ended: set[str] = set()
        for event in self.events:
            if isinstance(event, Tokens):
                assert event.thread not in ended, "tokens after the end of the thread"
            if isinstance(event, Closed):
                ended.add(event.thread)
        assert [e.at for e in self.events] == sorted(e.at for e in self.events)
        assert snapshot(ThreadTree.replay(self.events)) == snapshot(tree)
        again = Ledger(ledger.budget)
        for event in self.events:
            again.apply(event)
        assert again == ledger
        condenser, brief = Condenser(), Ledger(ledger.budget)
        for event in self.events:
            condenser(event)
        for event in condenser.events:
            brief.apply(event)
        assert snapshot(ThreadTree.replay(condenser.events)) == snapshot(tree)
        assert brief == ledger
        sampled = [s for t in tree for s in t.segments if s.origin == "sampled"]
        assert ledger.total_tokens == sum(len(s.ids) for s in sampled)
        assert all(s.finish is not None for s in sampled)
        assert tree.critical_path <= ledger.total_tokens


def run(method: Controller | Body, backend: Backend | Script, **options: Any) -> Trajectory:
    """The checked outcome of one run."""
    return asyncio.run(Run(method, backend, **options).go())


def snapshot(tree: ThreadTree) -> list[Any]:
    """Everything a tree says."""
    threads = [
        (
            t.id,
            t.model,
            t.parent.id if t.parent else None,
            t.kept,
            t.segments,
            t.finish,
            t.clock,
            t.length,
            t.children,
            t.ids,
            t.text,
            t.depth,
        )
        for t in tree
    ]
    return [threads, tree.notes, tree.joins]
