"""Beam search over steps: after every step the best unfinished chains are gone on with.

Snell et al., "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model
Parameters", 2024, section 5.1 and appendix E; with `diverse`, the Diverse Verifier Tree Search of
Beeching et al., "Scaling test-time compute with open models", 2024.
"""

from dataclasses import dataclass
from typing import ClassVar

from controllers.forks import as_many
from controllers.grammar import Syntax
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chain up to the end of a step."""

    thread: Thread
    answer: str | None
    score: float
    finished: bool


@dataclass(frozen=True)
class Beam:
    """Every step draws `width` candidates for each of `beams` chains. A candidate that has ended
    takes the place of a chain that would be gone on with. Of the finished, those with an answer
    come first, then the best score, then the earliest."""

    name: ClassVar[str] = "beam"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    beams: int = 4
    """Chains kept after every step."""
    width: int = 4
    """Candidates for the next step of each."""
    diverse: bool = False
    """Whether every chain keeps the best of its own candidates, so that none drives out another;
    else all candidates are compared with each other."""
    steps: int = 40
    """Most steps; the last one is written to the end of the chain."""
    scorer: str = "likelihood"
    """likelihood (of the last step), verifier (of what has ended), …"""
    serial_width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.7)
    """Of one step: `max_tokens` is a step's, and a step that reaches it ends its chain."""

    def __post_init__(self) -> None:
        for name in ("beams", "width", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.serial_width))
        ended: list[Candidate] = []

        async def subtree(top: Thread) -> None:
            await self._search(engine, syntax, top, 1, ended)

        if self.diverse:
            tops = [engine.fork(root) for _ in range(self.beams)]
            await engine.map(subtree, tops)
            engine.join(root, tops)
        else:
            await self._search(engine, syntax, root, self.beams, ended)
        if not ended:
            return Result(None, root.id)
        # Subtrees end in any order: of equals the one opened first, number by number.
        best = min(ended, key=lambda c: (c.answer is None, -c.score, _place(c.thread)))
        return Result(best.answer, best.thread.id, {"score": best.score})

    async def _search(
        self, engine: Engine, syntax: Syntax, top: Thread, beams: int, ended: list[Candidate]
    ) -> None:
        """Search below `top`, and add every chain that ends to `ended`."""
        begun = top.length

        async def write(child: Thread) -> Candidate:
            turn = await engine.generate(child, asked)
            finished = turn.stopped_at not in asked.stop[: len(ends)]
            answer = syntax.answer(engine.excerpt(child, begun).text) if finished else None
            score = await engine.rate(child, answer, self.scorer)
            engine.note(child, "score", score)
            return Candidate(child, answer, score, finished)

        live, places = [top] * beams, beams
        for step in range(self.steps):
            ends = syntax.step_ends if step < self.steps - 1 else ()
            asked = self.sampling.but(stop=(*ends, *self.sampling.stop))
            opened = (engine.fork(chain) for chain in live for _ in range(self.width))
            children = as_many(opened, least=not ended)
            if not children:
                return
            found = [candidate for candidate in await engine.map(write, children) if candidate]
            engine.join(top, children)
            ended += [candidate for candidate in found if candidate.finished]
            kept = sorted(found, key=lambda candidate: -candidate.score)[:places]
            live = [candidate.thread for candidate in kept if not candidate.finished]
            places = len(live)
            for chain in live:  # whose next step has to wait for all that it was compared with
                engine.join(chain, [child for child in children if child is not chain])
            if not live:
                return


def _place(thread: Thread) -> list[int]:
    return [int(number) for number in thread.id.split(".")]
