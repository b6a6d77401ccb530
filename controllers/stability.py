"""Adaptive consistency: chains race, and the vote ends when the others can hardly change it.

Aggarwal et al., "Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and
Coding with LLMs", EMNLP 2023, section 3, whose Beta rule stops early at some risk; with `doubt=0`
it stops only when the vote is decided.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from controllers.forks import as_many
from controllers.inside import check_chain, reach
from controllers.syntax import syntax_of
from reason.answers import majority, normalise
from reason.engine import Engine
from reason.run import Controller
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True)
class AdaptiveConsistency:
    """At most `n` chains and a vote; ties go to the earliest, chains without an answer do not
    vote."""

    name: ClassVar[str] = "adaptive_consistency"
    n: int = 16
    """Chains at most."""
    doubt: float = 0.05
    """How likely it may be that the answer in second place still overtakes, and the vote ends; 0
    ends it only when no vote could change it."""
    wave: int = 0
    """Chains started at a time; 0 starts all at once, which is quickest, and dearest."""
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
        if not 0 <= self.doubt < 1:
            raise ValueError(f"doubt must be in [0, 1), got {self.doubt}")
        if self.wave < 0:
            raise ValueError(f"wave must be 0 (all at once) or more, got {self.wave}")
        check_chain(self, self.chain)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        chains: list[Thread] = []
        said: dict[str, Result] = {}
        voted: dict[int, str | None] = {}

        async def think(chain: Thread) -> None:
            said[chain.id] = await reach(engine, syntax, chain, self.sampling, self.chain, prompt)

        most = self.n
        while len(chains) < most and not settled(voted, most, self.doubt):
            size = min(self.wave or most, most - len(chains))
            wave = as_many((engine.fork(root) for _ in range(size)), least=not chains)
            first, heard = len(chains), []
            chains += wave
            if len(wave) < size:  # the budget has room for no more
                most = len(chains)
            async with engine.race(think, wave) as finished:
                async for chain in finished:
                    heard.append(chain)
                    one = said.get(chain.id)
                    voted[first + wave.index(chain)] = one.answer if one else None
                    if settled(voted, most, self.doubt):
                        break
            engine.join(root, heard)
        voters = sorted(voted)
        vote = majority([voted[index] for index in voters])
        noted = {"answer": vote.answer, "share": vote.share, "voters": len(voters)}
        engine.note(root, "vote", noted)
        chain = chains[voters[vote.index]]
        return Result(vote.answer, said[chain.id].thread if chain.id in said else chain.id)


def settled(voted: Mapping[int, str | None], n: int, doubt: float) -> bool:
    """Whether the vote of `n` ends, of whom these have voted by their place in the list."""
    left = [index for index in range(n) if index not in voted]
    places: dict[str, list[int]] = {}
    for index in sorted(voted):
        vote = voted[index]
        if vote is not None:
            places.setdefault(normalise(vote), []).append(index)
    if not left or not places:
        return not left
    leader, *others = sorted(places.values(), key=lambda at: (-len(at), at[0]))
    # The votes that are left would do most for one answer together; of the answers that nobody
    # gave so far, one is as good as any other.
    if not any(overtakes(leader, rival, left) for rival in (*others, [])):
        return True
    second = others[0] if others else []
    return bool(doubt) and overtaking(leader, second, left) < doubt


def overtakes(leader: Collection[int], rival: Collection[int], left: Collection[int]) -> bool:
    """Whether the rival wins if it gets every vote that is left; of equals the earliest wins."""
    ahead = len(leader) - len(rival) - len(left)
    return ahead < 0 or (ahead == 0 and min((*rival, *left)) < min(leader))


def overtaking(leader: Collection[int], rival: Collection[int], left: Collection[int]) -> float:
    """The chance that the rival wins if every vote that is left goes to one of the two.

    The share of each is unknown, and uniform before their votes were seen, so that the rival's
    votes of those left are Beta-binomial. A tie counts as lost where it may be.
    """
    from scipy.stats import betabinom

    ahead = len(leader) - len(rival) + len(left)
    # With k votes the rival has as many as the leader where 2 k = ahead.
    needed = (ahead + 1) // 2 if min((*rival, *left)) < min(leader) else ahead // 2 + 1
    return float(betabinom.sf(needed - 1, len(left), len(rival) + 1, len(leader) + 1))
