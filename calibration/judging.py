"""What a mode is, what it is fitted to, and what it says of a chunk.

A *mode* is a choice with its options, before any data. Fitted to a sample it is a *rule*, which is
frozen and may be shared. `start` gives the *judge* of one run: of a stateless rule the rule itself,
of an online one a new object that learns from what it judges.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from calibration.conformal import Reference, rank
from calibration.sample import Sample
from reason.errors import UsageError


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the target takes over, and why."""

    p: float | None
    """Small for a great surprise; None for a score that is not finite."""
    threshold: float
    """A score above it is rejected, one equal to it by chance; inf rejects none, -inf all."""
    rejected: bool
    group: str
    rate: float
    """The share of rejections aimed at; of an adaptive mode, the one it is at."""
    n: int
    """Calibration scores it was compared with."""
    percentile: float | None
    """Share of those strictly below; None where p is None or there are none."""

    def to_json(self) -> dict[str, Any]:
        """For a journal. JSON has no infinity: such a threshold is null."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {"threshold": self.threshold if isfinite(self.threshold) else None}


class Judge(Protocol):
    """Decides about the chunks of one run."""

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        """Of the chunk with that score: its turn from 0 on, its tokens, the question's id, and u
        in [0, 1), which breaks ties.

        Raises UsageError for a question that the mode cannot judge.
        """
        ...


class Rule(Protocol):
    """A mode that knows its calibration."""

    @property
    def sample(self) -> Sample: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its user should know, such as groups too small for the rate."""
        ...

    def start(self) -> Judge: ...


class Mode(Protocol):
    """A way to decide, by its name in catalog.MODES."""

    @property
    def name(self) -> str: ...

    @property
    def rate(self) -> float:
        """The share to be rejected; for a budget of B take-overs of m chains it is B/m."""
        ...

    def fit(self, sample: Sample) -> Rule:
        """Raises UsageError for a sample that the mode cannot be fitted to."""
        ...


def check_rate(rate: float) -> None:
    """Raises ValueError for a rate that is no share."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in 0..1, the share of chunks to reject, got {rate}")


def check_unseen(sample: Sample, question: str, seen: bool) -> None:
    """Raises UsageError for a question of the calibration, unless those may be judged."""
    if not seen and question in sample.known:
        raise UsageError(
            f"question {question!r} is one of the {len(sample.known)} questions of the "
            "calibration, and its chunks are not exchangeable with their own scores: ask other "
            "questions (reason eval without=FILE leaves these out), calibrate on others, or allow "
            "it (force=true; seen=True of a mode)"
        )


def check_draw(u: float) -> None:
    """Raises ValueError for what cannot break a tie."""
    if not 0 <= u < 1:
        raise ValueError(f"u must be in 0..1, without the 1, got {u}: Engine.chance draws it")


def decide(reference: Reference, score: float, rate: float, u: float, group: str) -> Judgement:
    """By comparison with one group."""
    check_draw(u)
    n, threshold = reference.n, reference.threshold(rate)
    if not isfinite(score):
        return Judgement(None, threshold, True, group, rate, n, None)
    below, tied = reference.place(score)
    counted = below + int(u * (tied + 1))
    p, percentile = (n + 1 - counted) / (n + 1), below / n if n else None
    return Judgement(p, threshold, counted >= rank(n, rate), group, rate, n, percentile)
