"""Deep think with confidence: chains that lose confidence are cut, and the others vote by theirs.

Fu et al., "Deep Think with Confidence", 2025, section 3.3, online thinking. The paper's confidence
of a token is taken over the k likeliest ones; engines give the log-probability of the sampled
token alone, so that here the confidence of a window is the mean log-probability of the tokens
sampled in it, higher for more, and a vote weighs as much as the geometric mean of their
probabilities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import ClassVar

from controllers.forks import as_many
from controllers.syntax import syntax_of
from reason.answers import normalise
from reason.engine import Engine
from reason.types import Prompt, Result, SamplingParams, Segment, Thread


@dataclass(frozen=True)
class Confidence:
    """The confidence of a chain is that of its least confident window. Those below the threshold
    do not vote, nor do those without an answer; ties go to the earliest. Where no other chain has
    an answer, those of the warm-up vote that fell below."""

    name: ClassVar[str] = "confidence"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    n: int = 16
    """Chains, those of the warm-up included."""
    warmup: int = 0
    """Chains that set the threshold, and are not cut; 0 for half of `n`, and 8 at most."""
    percentile: float = 10.0
    """Of the confidences of the warm-up, below which chains are cut: 10 keeps most of them, 90
    the best tenth (in the paper DeepConf-high and DeepConf-low)."""
    window: int = 256
    """Tokens of a window (2048 in the paper); a chain that has fewer is one window, and is not cut
    while it runs."""
    consensus: float = 0.95
    """Share of the weighted votes, of two voters or more, at which to stop waiting for others."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.7)

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("warmup", 0), ("window", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.warmup > self.n:
            raise ValueError(f"warmup must be n={self.n} or less, got {self.warmup}")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile must be in [0, 100], got {self.percentile}")
        if not 0 < self.consensus <= 1:
            raise ValueError(f"consensus must be in (0, 1], got {self.consensus}")

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        places: dict[str, int] = {}
        ballots: dict[int, Ballot] = {}
        threshold, first = -inf, self.warmup or max(1, min(8, self.n // 2))

        async def write(chain: Thread) -> None:
            window, cut = Window(self.window), False

            def fell(segment: Segment) -> bool:
                nonlocal cut
                window.read(segment.logprobs)
                cut = window.full and window.lowest < threshold
                return cut

            turn = await engine.generate(chain, self.sampling, fell)
            window.read(turn.logprobs)
            if cut:
                engine.note(chain, "cut", {"confidence": window.lowest, "below": threshold})
                engine.close(chain, "cancelled", "its confidence fell below the threshold")
            elif turn.logprobs:
                ballots[places[chain.id]] = Ballot(syntax.answer(turn.text), window.lowest)

        def chains(count: int, least: int = 1) -> list[Thread]:
            opened = as_many((engine.fork(root) for _ in range(count)), least)
            places.update({chain.id: place for place, chain in enumerate(opened, len(places))})
            return opened

        def voters() -> dict[int, Ballot]:
            answered = {at: ballots[at] for at in sorted(ballots) if ballots[at].answer is not None}
            above = {at: b for at, b in answered.items() if b.confidence >= threshold}
            return above or {at: b for at, b in answered.items() if at < first}

        def agreed() -> bool:
            return len(voters()) > 1 and tally(voters())[1] >= self.consensus

        warmup = chains(first)
        await engine.map(write, warmup)
        engine.join(root, warmup)
        if ballots:
            confidences = [ballot.confidence for ballot in ballots.values()]
            threshold = percentile(confidences, self.percentile)
            engine.note(root, "threshold", threshold)
        if first < self.n and not agreed():
            heard = []
            async with engine.race(write, chains(self.n - first, least=0)) as finished:
                async for chain in finished:
                    heard.append(chain)
                    if agreed():
                        break
            engine.join(root, heard)

        winner, share = tally(voters())
        answer = ballots[winner].answer if winner in ballots else None
        engine.note(root, "vote", {"answer": answer, "share": share, "voters": len(voters())})
        return Result(answer, list(places)[winner])


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a chain that ran to its end has to say."""

    answer: str | None
    confidence: float


class Window:
    """The last tokens of a chain, and the least confident of all its windows so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sum, self._count, self._least = 0.0, 0, inf

    def read(self, logprobs: Sequence[float]) -> None:
        """Go on to the end of what the chain sampled so far; takes as long as that is new."""
        for at in range(self._count, len(logprobs)):
            self._sum += logprobs[at] - (logprobs[at - self._size] if at >= self._size else 0.0)
            if at + 1 >= self._size:
                self._least = min(self._least, self._sum)
        self._count = len(logprobs)

    @property
    def full(self) -> bool:
        return self._count >= self._size

    @property
    def lowest(self) -> float:
        """Mean log-probability of the least confident window; of all, where they are fewer."""
        return self._least / self._size if self.full else self._sum / max(self._count, 1)


def percentile(values: Sequence[float], q: float) -> float:
    """With a straight line between neighbours, as numpy draws it."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def tally(voters: Mapping[int, Ballot]) -> tuple[int, float]:
    """The first voter of the answer with the most weight, and its share; of none, 0 and 0.

    `voters` by place, in order.
    """
    weights: dict[str, float] = {}
    first: dict[str, int] = {}
    most = max((ballot.confidence for ballot in voters.values()), default=0.0)
    for place, ballot in voters.items():
        form = normalise(ballot.answer or "")
        # Relative to the most confident, so that not all of them can vanish.
        weights[form] = weights.get(form, 0.0) + exp(ballot.confidence - most)
        first.setdefault(form, place)
    if not weights:
        return 0, 0.0
    best = max(weights, key=lambda form: weights[form])
    return first[best], weights[best] / sum(weights.values())
