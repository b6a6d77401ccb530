"""Trees in the sizes that papers report, as methods that grow them: only the lengths are theirs.

A plan is what a tree samples and what is put into it, phase after phase; `Grow` runs it with the
engine's verbs, `InSequence` samples as many tokens in one thread, `bare_tree` sends the requests of
the tree without an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from string import ascii_lowercase
from typing import ClassVar, Literal

from reason.engine import Engine
from reason.types import Prompt, Result, SamplingParams, Segment, Thread

SAMPLING = SamplingParams(temperature=1.0)
HEADER = 6
"""Tokens of the line that a fork begins with."""


@dataclass(frozen=True)
class Plan:
    """Lengths in tokens. A round is the children that run at once; the parent writes before the
    first, between rounds and after the last."""

    kind: Literal["spawn", "fork"]
    prompt: int
    parent: tuple[int, ...]
    """One more than there are rounds."""
    rounds: tuple[tuple[int, ...], ...]
    child_prompt: int = 0
    """What a spawned child is told."""
    cut: int = 0
    """The end of the text before a round, the call of its children, that is taken out again."""
    report: int = 0
    """What the parent reads in its place of each child."""

    @property
    def total(self) -> int:
        return sum(self.parent) + sum(map(sum, self.rounds))

    @property
    def critical(self) -> int:
        return sum(self.parent) + sum(map(max, self.rounds))

    @property
    def threads(self) -> int:
        return sum(map(len, self.rounds))

    def scaled(self, scale: float) -> "Plan":
        """All lengths times `scale`, at least 1."""

        def by(length: int) -> int:
            return max(round(length * scale), 1) if length else 0

        return replace(
            self,
            prompt=by(self.prompt),
            parent=tuple(map(by, self.parent)),
            rounds=tuple(tuple(map(by, lengths)) for lengths in self.rounds),
            child_prompt=by(self.child_prompt),
            cut=by(self.cut),
            report=by(self.report),
        )


def _around(mean: int, count: int, spread: float) -> tuple[int, ...]:
    """Lengths of that mean; the longest is `spread` above it, the shortest as far below."""
    return tuple(round(mean * (1 - spread + 2 * spread * i / (count - 1))) for i in range(count))


PLANS = {
    # Pan et al. 2025, Countdown with 4 numbers: demonstrations with 6 (the mean) and 10 (the most)
    # children per spawn, 10,338 and 18,944 tokens of which 2,693 and 3,319 are the critical path.
    "apr6": Plan("spawn", 45, (700, 296), (_around(1557, 6, 0.09),), 60, 150, 45),
    "apr10": Plan("spawn", 45, (1000, 404), (_around(1754, 10, 0.09),), 60, 250, 40),
    # Lian et al. 2025, table 8, first stage: 6 blocks of 2 or 3 threads, 541 tokens each in the
    # mean, 77 % of 11,143 tokens in threads, 8,278 on the longest path.
    "threadweaver": Plan(
        "fork",
        150,
        (366,) * 7,
        tuple((952, *(286,) * (width - 1)) for width in (3, 3, 2, 3, 2, 3)),
    ),
}


@dataclass(frozen=True)
class Grow:
    """The tree of a plan: spawned children return a report, forked ones all that they wrote."""

    name: ClassVar[str] = "grow"
    plan: Plan

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        plan, thread = self.plan, engine.open(prompt)
        root, text = thread, str(prompt)
        await write(engine, thread, plan.parent[0])
        for lengths, after in zip(plan.rounds, plan.parent[1:], strict=True):
            if plan.kind == "spawn":
                thread = await self._spawned(engine, thread, lengths, text)
            else:
                await self._forked(engine, thread, lengths)
            await write(engine, thread, after)
        if thread is not root:
            engine.join(root, [thread])
        return Result(None, thread.id)

    async def _spawned(
        self, engine: Engine, thread: Thread, lengths: Sequence[int], text: str
    ) -> Thread:
        """Goes on in a fork that never saw the call, as a method that replaces it does."""
        plan = self.plan
        children = [
            engine.spawn(thread, letters(plan.child_prompt, f"{text} {i}"))
            for i in range(len(lengths))
        ]
        await _all(engine, children, lengths)
        engine.join(thread, children)
        after = engine.fork(thread, thread.length - plan.cut)
        engine.append(after, letters(plan.report * len(lengths), f"{text} report"))
        return after

    async def _forked(self, engine: Engine, thread: Thread, lengths: Sequence[int]) -> None:
        """What the children wrote is copied behind the parent's text, token for token."""
        children = [engine.fork(thread) for _ in lengths]
        for i, child in enumerate(children):
            engine.append(child, letters(HEADER, f"{i}"))
        await _all(engine, children, lengths)
        engine.join(thread, children)
        for child in children:
            engine.append(thread, child.segments)


async def write(engine: Engine, thread: Thread, tokens: int) -> Segment:
    return await engine.generate(thread, SAMPLING.but(max_tokens=tokens))


async def _all(engine: Engine, children: Sequence[Thread], lengths: Sequence[int]) -> None:
    asked = dict(zip(children, lengths, strict=True))
    await engine.map(lambda child: write(engine, child, asked[child]), children)


@dataclass(frozen=True)
class InSequence:
    """As many tokens by one thread."""

    name: ClassVar[str] = "sequence"
    plan: Plan

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        thread = engine.open(prompt)
        await write(engine, thread, self.plan.total)
        return Result(None, thread.id)


def letters(count: int, seed: str) -> str:
    """So many letters, which are as many tokens of the tokenizers made here."""
    return "".join(Random(seed).choices(ascii_lowercase, k=count))
