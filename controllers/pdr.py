"""Parallel-distil-refine: rounds of parallel attempts, each built on a digest of the last round.

Madaan et al., "Rethinking Thinking Tokens: LLMs as Improvement Operators", 2025 (arXiv
2510.01123). A round is distilled into a workspace of bounded length, which is all that the next
round gets to see of it; only solutions are passed on, never the thinking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from controllers.attempt import Attempt, Attempting
from controllers.grammar import Syntax
from controllers.rounds import CALL, Rounds, round_of
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, Thread

Distiller = Literal["global_summary", "shared_top_k", "per_sample_top_k", "random_k"]


@dataclass(frozen=True)
class ParallelDistillRefine(Attempting):
    """`rounds` of so many attempts each, and a last one of one, which gives the answer.

    An attempt that fails is missing from the next workspace and stops nobody. Result.extra has
    B_seq and B_total (controllers/rounds.py).
    """

    name: ClassVar[str] = "pdr"
    rounds: tuple[int, ...] = (8,)
    """Attempts of each round, the last one excepted."""
    distil: Distiller = "random_k"
    """What the workspace of the next round is: one summary of all; the best k as the model picks
    them, once for all or anew for every attempt; k at random for every attempt."""
    k: int = 4
    """Solutions in a workspace, but for a summary."""
    workspace: int = 4096
    """Most tokens of a workspace: solutions that do not fit as a whole are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for width in self.rounds:
            if width < 1:
                raise ValueError(f"rounds must be 1 attempt or more each, got {width}")
        for name in ("k", "workspace"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    def check_grammar(self, syntax: Syntax) -> None:
        if self.distil != "random_k":
            syntax.choice("", [], 0)
        if self.chain and self.rounds:
            syntax.revisited("", [""])

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The attempt of the last round does."""
        return round_of(tree, thread) == len(self.rounds)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        self.check_grammar(syntax)
        root = engine.open(syntax.attempt(prompt, [], self.width))
        solutions: list[str] = []
        last: Attempt | None = None
        calls: list[Thread] = []
        for number, width in enumerate((*self.rounds, 1)):
            spaces = await self._distil(engine, syntax, prompt, root, solutions, width, number)
            calls, found = await self.attempts(engine, syntax, prompt, root, spaces, number)
            solutions = [each.solution for each in found if each and each.solution]
            last = found[0]
        account = Rounds.of(engine.tree, root)
        answer, thread = (last.answer, last.thread) if last else (None, calls[0].id)
        return Result(answer, thread, account.figures())

    async def _distil(
        self,
        engine: Engine,
        syntax: Syntax,
        prompt: Prompt,
        root: Thread,
        solutions: list[str],
        width: int,
        number: int,
    ) -> list[list[str]]:
        """The workspace of each of `width` attempts of that round."""
        chance = engine.chance(root, f"distil {number}")
        if not solutions:
            return [[] for _ in range(width)]
        k = min(self.k, len(solutions))
        if self.distil == "global_summary":
            summary = await self._summary(engine, syntax, prompt, root, solutions, number)
            if summary:
                return [[summary] for _ in range(width)]
        drawn = [chance.sample(solutions, k) for _ in range(width)]
        if self.distil in ("shared_top_k", "per_sample_top_k") and k < len(solutions):
            calls = 1 if self.distil == "shared_top_k" else width
            # in another order every time: models prefer what comes first
            shown = [chance.sample(solutions, len(solutions)) for _ in range(calls)]
            picked = await self._picked(engine, syntax, prompt, root, shown, k, number)
            picked = picked * width if calls == 1 else picked
            drawn = [best or lot for best, lot in zip(picked, drawn, strict=True)]
        return [self._fitting(engine, root, each) for each in drawn]

    async def _summary(
        self,
        engine: Engine,
        syntax: Syntax,
        prompt: Prompt,
        root: Thread,
        solutions: Sequence[str],
        number: int,
    ) -> str | None:
        order = engine.chance(root, f"summary {number}").sample(list(solutions), len(solutions))
        call = engine.spawn(root, syntax.summary(prompt, self._fitting(engine, root, order)))
        engine.note(call, CALL, {"round": number, "kind": "distil"})
        (found,) = await engine.map(
            lambda call: self.attempt(engine, syntax, call, self.workspace), [call]
        )
        engine.join(root, [call])
        said = found.solution if found else None
        if said and engine.measure(root, said) > self.workspace:
            engine.note(call, "left out", {"summary": engine.measure(root, said)})
            return None
        return said

    async def _picked(
        self,
        engine: Engine,
        syntax: Syntax,
        prompt: Prompt,
        root: Thread,
        shown: list[list[str]],
        k: int,
        number: int,
    ) -> list[list[str] | None]:
        """The k best of each list as the model sees it; None where its words cannot be read."""
        calls = [engine.spawn(root, syntax.choice(prompt, each, k)) for each in shown]
        for call in calls:
            engine.note(call, CALL, {"round": number, "kind": "distil"})
        found = await engine.map(lambda call: self.attempt(engine, syntax, call), calls)
        engine.join(root, calls)
        best: list[list[str] | None] = []
        for call, each, said in zip(calls, shown, found, strict=True):
            text = said.solution if said else None
            indices = syntax.chosen(text, len(each), k) if text else None
            if indices is None:
                engine.note(call, "unreadable choice", "drawn by lot instead")
            best.append(None if indices is None else [each[i] for i in indices])
        return best

    def _fitting(self, engine: Engine, root: Thread, solutions: Sequence[str]) -> list[str]:
        """Those that fit into the workspace as a whole, in their order."""
        left, kept = self.workspace, []
        for solution in solutions:
            length = engine.measure(root, solution)
            if length <= left:
                left -= length
                kept.append(solution)
        if len(kept) < len(solutions):
            engine.note(root, "left out", {"solutions": len(solutions) - len(kept)})
        return kept
