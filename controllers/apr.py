"""Adaptive parallel reasoning: the model itself decides when to spawn and when to join.

Pan et al., "Learning Adaptive Parallel Reasoning with Language Models", COLM 2025, section 3. A
thread writes until it has listed sub-tasks; a child works on each, seeing nothing but its message;
the thread reads what they return and writes on. Children may spawn in turn.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from controllers.grammar import Syntax, Task
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True)
class AdaptiveParallel:
    """What is not well-formed is data, not an error: an unreadable task is left out, a child that
    never stops returns no result, a spawn beyond `rounds`, `depth` or `most` is not made. A note
    in the tree says so, but for a task left out among others that could be read."""

    name: ClassVar[str] = "apr"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    width: int = 0
    """Children per spawn that the model is asked for; 0 leaves it to the model."""
    rounds: int = 4
    """Most times one thread may spawn."""
    depth: int = 3
    """Most levels of threads below the root."""
    most: int = 64
    """Most children of one spawn; more are left out."""
    splice: Literal["replace", "append"] = "replace"
    """Whether the join block takes the place of the spawn block, as in APR's release, or follows
    it. Replacing goes on in a fork that was cut at the token before the block; a turn in which no
    task could be read keeps its text."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.0)
    child_sampling: SamplingParams | None = None
    """Sampling of the children; None for the same."""

    def __post_init__(self) -> None:
        for name in ("width", "rounds", "depth", "most"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The root and who goes on in its place do, around their blocks."""
        return tree.trunk(thread)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.parallel(prompt, self.width))
        last = await self._think(engine, syntax, root, self.sampling, 0, 0)
        return Result(syntax.answer(last.segments[-1].text), last.id)

    async def _think(
        self,
        engine: Engine,
        syntax: Syntax,
        thread: Thread,
        sampling: SamplingParams,
        spawned: int,
        level: int,
    ) -> Thread:
        """Write, and whenever the text asks for it, spawn and join; the thread that ends it."""
        stops = dict.fromkeys((*syntax.stops, *sampling.stop))
        turn = await engine.generate(thread, sampling.but(stop=tuple(stops)))
        if turn.stopped_at not in syntax.stops:
            return thread
        if spawned == self.rounds or level == self.depth:
            engine.note(thread, "spawn refused", f"after {spawned} rounds, at level {level}")
            return thread

        tasks = syntax.tasks(turn.text)
        if not tasks or len(tasks) > self.most:
            engine.note(thread, "tasks", {"read": len(tasks), "most": self.most})
        tasks = tasks[: self.most]
        results = await self._children(engine, syntax, thread, tasks, level)
        report = syntax.report(tasks, results)

        if self.splice == "append":
            engine.append(thread, report)
            return await self._think(engine, syntax, thread, sampling, spawned + 1, level)
        before = engine.locate(thread, syntax.block(turn.text))
        after = engine.fork(thread, before, continues=True)
        engine.append(after, report)
        try:
            return await self._think(engine, syntax, after, sampling, spawned + 1, level)
        finally:
            engine.join(thread, [after])

    async def _children(
        self, engine: Engine, syntax: Syntax, thread: Thread, tasks: list[Task], level: int
    ) -> list[str | None]:
        """What a child returns for every task."""
        sampling = self.child_sampling or self.sampling

        async def work(child: Thread) -> str | None:
            last = await self._think(engine, syntax, child, sampling, 0, level + 1)
            turn = last.segments[-1]
            if turn.finish == "length":
                engine.note(child, "no result", "it never stopped")
                return None
            return syntax.result(turn.text)

        children = [engine.spawn(thread, syntax.child(task)) for task in tasks]
        results = await engine.map(work, children)
        engine.join(thread, children)
        return results
