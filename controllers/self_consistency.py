"""Self-consistency: sample several chains, keep the answer most of them reach.

Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", ICLR 2023.
"""

from dataclasses import dataclass
from typing import ClassVar

from controllers.forks import forks
from controllers.inside import check_chain, reach
from controllers.syntax import syntax_of
from reason.answers import majority
from reason.engine import Engine
from reason.run import Controller
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True)
class SelfConsistency:
    """`n` chains and a vote, fewer where the budget has no room for so many threads; ties go to the
    earliest. Chains without an answer do not vote, nor those that failed or that a budget cut: what
    they had written was not their last."""

    name: ClassVar[str] = "self_consistency"
    n: int = 8
    """Chains."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.7)
    """Of the chains; given on the command line or in a file, of a method in them, too, but for
    what it is given itself."""
    chain: Controller | None = None
    """What every chain is; None for one thread."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be 1 or more, got {self.n}")
        check_chain(self, self.chain)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        chains = forks(engine, root, self.n)

        async def think(chain: Thread) -> Result:
            return await reach(engine, syntax, chain, self.sampling, self.chain, prompt)

        found = await engine.map(think, chains)
        engine.join(root, chains)
        vote = majority([one.answer if one else None for one in found])
        engine.note(root, "vote", {"answer": vote.answer, "share": vote.share})
        one = found[vote.index]
        return Result(vote.answer, one.thread if one else chains[vote.index].id)
