"""Sequential refinement: an attempt, improved again and again.

The other half of Madaan et al. 2025 (arXiv 2510.01123): depth without width. Each attempt sees the
one before it, or also a list of its errors.
"""

from dataclasses import dataclass
from typing import ClassVar

from controllers.attempt import Attempting
from controllers.grammar import Syntax
from controllers.rounds import CALL, Rounds, round_of
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, Thread


@dataclass(frozen=True)
class SequentialRefine(Attempting):
    """An attempt that fails, or finds no solution, leaves the one before it in its place."""

    name: ClassVar[str] = "sr"
    rounds: int = 4
    """Attempts after the first."""
    analyse: bool = False
    """Whether a call lists the errors of an attempt before the next one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 0:
            raise ValueError(f"rounds must be 0 or more, got {self.rounds}")

    def check_grammar(self, syntax: Syntax) -> None:
        if self.analyse:
            syntax.critique("", "")
        if self.chain and self.rounds:
            syntax.revisited("", [""])

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The last attempt does."""
        return round_of(tree, thread) == self.rounds

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        self.check_grammar(syntax)
        root = engine.open(syntax.attempt(prompt, [], self.width))
        solution: str | None = None
        answer: str | None = None
        thread = root.id
        for number in range(self.rounds + 1):
            shown = [solution] if solution else []
            if solution and self.analyse:
                call = engine.spawn(root, syntax.critique(prompt, solution))
                engine.note(call, CALL, {"round": number, "kind": "distil"})
                (said,) = await engine.map(lambda c: self.attempt(engine, syntax, c), [call])
                engine.join(root, [call])
                if said and said.solution:
                    shown = [f"{solution}\n\nErrors found in it:\n{said.solution}"]
            _, (found,) = await self.attempts(engine, syntax, prompt, root, [shown], number)
            if found and found.solution:
                solution, answer, thread = found.solution, found.answer, found.thread
        return Result(answer, thread, Rounds.of(engine.tree, root).figures())
