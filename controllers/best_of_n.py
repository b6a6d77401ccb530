"""Best-of-n: sample several chains, keep the one that a scorer rates highest.

Cobbe et al., "Training Verifiers to Solve Math Word Problems", 2021. With a verifier as scorer and
`enough` set, chains still running are stopped once one is good enough.
"""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from controllers.forks import forks
from controllers.inside import check_chain, reach
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.run import Controller
from reason.types import Prompt, Result, SamplingParams, Thread

_HIGHEST = {"verifier": 1.0, "likelihood": 0.0}
"""What no chain can exceed: waiting for more would be waiting for all."""


@dataclass(frozen=True)
class BestOfN:
    """`n` chains and a scorer, by the name under which the engine knows it."""

    name: ClassVar[str] = "best_of_n"
    n: int = 8
    """Chains."""
    scorer: str = "verifier"
    """verifier (1 for a correct answer), likelihood (mean log-probability of the chain), …"""
    enough: float | None = None
    """A score at which to stop waiting for the other chains."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.7)
    """Of the chains; given on the command line or in a file, of a method in them, too, but for
    what it is given itself."""
    chain: Controller | None = None
    """What every chain is; None for one thread."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("token_ids",) if self.scorer == "likelihood" else ()

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be 1 or more, got {self.n}")
        highest = _HIGHEST.get(self.scorer, inf)
        if self.enough is not None and not self.enough <= highest:
            raise ValueError(
                f"enough must be at most {highest:g}, the highest score of the scorer "
                f"{self.scorer}, got {self.enough:g}"
            )
        check_chain(self, self.chain)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        chains = forks(engine, root, self.n)
        best, best_score, heard = chains[0], float("-inf"), []
        found: dict[str, Result] = {}

        async def think(chain: Thread) -> None:
            found[chain.id] = await reach(engine, syntax, chain, self.sampling, self.chain, prompt)

        async with engine.race(think, chains) as finished:
            async for chain in finished:
                heard.append(chain)
                if chain.finish in ("error", "budget", "cancelled"):
                    continue
                one = found[chain.id]
                score = await engine.rate(engine.tree[one.thread], one.answer, self.scorer)
                engine.note(chain, "score", score)
                # equal scores go to the earlier chain, whoever finished first
                earlier = score == best_score and chains.index(chain) < chains.index(best)
                if score > best_score or earlier:
                    best, best_score = chain, score
                if self.enough is not None and score >= self.enough:
                    break
        engine.join(root, heard)
        extra = {"score": best_score} if best_score > float("-inf") else {}
        if best.id in found:
            return Result(found[best.id].answer, found[best.id].thread, extra)
        return Result(syntax.answer(best.text), best.id, extra)
