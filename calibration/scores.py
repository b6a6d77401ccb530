"""Scores of a draft's chunk, from what the target model says of its tokens.

Every score here is a surprise: higher is less reliable, and a chunk is rejected for a high one. So
perplexity stands as it is, and those of which more is better - mean log-likelihood, confidence,
margin, vote share - are negated. A chunk with nothing to score (no tokens, no other answers) has
the score NaN; one to which the target gives no chance has +inf. Neither is an error: a score that
is not finite is rejected by every mode, and counted by the audit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, inf, nan

from reason.errors import UsageError
from reason.settings import choose

TAIL = 64
"""Tokens at the end of a chunk that the tail confidence looks at."""
HIGHEST = 0.05
"""Log-probabilities are at most 0; what rounding in half precision may add."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is known of a draft's chunk. Raises UsageError for log-probabilities above 0."""

    logprobs: Sequence[float] = ()
    """Natural log-probability of each of its tokens under the target."""
    others: Sequence[float] = ()
    """At each place the natural log-probability of the target's best token beside that one."""
    answer: str | None = None
    answers: Sequence[str | None] = ()
    """Those of the chains beside it, None for a chain without one."""

    def __post_init__(self) -> None:
        for name in ("logprobs", "others"):
            high = [value for value in getattr(self, name) if value > HIGHEST]
            if high:
                raise UsageError(
                    f"{name} hold {high[0]:g}, expected natural log-probabilities, which are at "
                    "most 0: negate them if they are losses"
                )
        if self.others and len(self.others) != len(self.logprobs):
            raise UsageError(
                f"{len(self.logprobs)} logprobs have {len(self.others)} others: give one for each"
            )


def perplexity(chunk: Chunk) -> float:
    """exp of the mean negative log-likelihood: the score of ATTS."""
    loss = likelihood(chunk)
    try:
        return exp(loss)
    except OverflowError:
        return inf


def likelihood(chunk: Chunk) -> float:
    """Mean log-likelihood of the tokens, negated: in the order of the perplexity."""
    return -_mean(chunk.logprobs)


def tail_confidence(chunk: Chunk) -> float:
    """Mean log-likelihood of the last TAIL tokens, negated: how sure the chunk ends."""
    return -_mean(chunk.logprobs[-TAIL:])


def margin(chunk: Chunk) -> float:
    """Mean of how far a token's log-probability stands above that of the best other, negated."""
    return -_mean([p - q for p, q in zip(chunk.logprobs, chunk.others, strict=False)])


def vote_share(chunk: Chunk) -> float:
    """Share of the chains beside it that have an answer and give this one, negated."""
    votes = [answer for answer in chunk.answers if answer is not None]
    if chunk.answer is None or not votes:
        return nan
    return -votes.count(chunk.answer) / len(votes)


SCORES: Mapping[str, Callable[[Chunk], float]] = {
    "perplexity": perplexity,
    "likelihood": likelihood,
    "tail_confidence": tail_confidence,
    "margin": margin,
    "vote_share": vote_share,
}


OF_LOGPROBS = ("perplexity", "likelihood", "tail_confidence")
"""Those that take the log-probabilities of the chunk's tokens and nothing else."""


def score_named(name: str) -> Callable[[Chunk], float]:
    """The score of that name. Raises UsageError naming those that exist."""
    return choose("score", name, SCORES)


def _mean(values: Sequence[float]) -> float:
    """NaN of nothing, and wherever the target said NaN."""
    return fsum(values) / len(values) if values else nan
