"""Modes without a state: what they say of a chunk depends on the calibration alone.

So decisions do not depend on the order in which chunks arrive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from calibration import conformal
from calibration.conformal import SLACK, Reference, shortage
from calibration.groups import LEAST, Groups, Lengths, One, Questions, Turns, check_least
from calibration.judging import Judgement, check_rate, check_unseen, decide
from calibration.sample import Sample
from reason.errors import UsageError


@dataclass(frozen=True, eq=False)
class Grouped:
    """The rule of a fixed calibration in groups."""

    sample: Sample
    rate: float
    groups: Groups
    references: Mapping[str, Reference]
    seen: bool

    @classmethod
    def of(cls, sample: Sample, rate: float, groups: Groups, seen: bool) -> "Grouped":
        return cls(sample, rate, groups, references_of(sample, groups), seen)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = (shortage(r.n, self.rate, name) for name, r in self.references.items())
        return tuple(text for text in found if text)

    def start(self) -> "Grouped":
        return self

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        check_unseen(self.sample, question, self.seen)
        group = self.groups.of(turn, length, question)
        return decide(self.references[group], score, self.rate, u, group)


def references_of(sample: Sample, groups: Groups) -> dict[str, Reference]:
    """The calibration scores of every group, in the order of turn, length and question."""
    members: dict[str, list[int]] = {}
    columns = (sample.turns.tolist(), sample.lengths.tolist(), sample.questions)
    keys = list(zip(*columns, strict=True))
    for entry, key in enumerate(keys):
        members.setdefault(groups.of(*key), []).append(entry)
    ordered = sorted(members.items(), key=lambda item: min(keys[entry] for entry in item[1]))
    found = {name: Reference.of(sample.scores[entries]) for name, entries in ordered}
    return found or {groups.of(0, 0, ""): Reference.of(())}


@dataclass(frozen=True)
class Pooled:
    """One threshold for all (ATTS, "marginal")."""

    name: ClassVar[str] = "pooled"
    rate: float = 0.4
    seen: bool = False
    """Whether questions of the calibration may be judged."""

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def fit(self, sample: Sample) -> Grouped:
        return Grouped.of(sample, self.rate, One(), self.seen)


@dataclass(frozen=True)
class ByTurn:
    """A threshold for every turn: later turns are not exchangeable with the first.

    The calibration needs chunks of later turns, of the same pipeline with its take-overs. Turns
    with fewer than `least` scores are merged with the next ones (groups.Bins).
    """

    name: ClassVar[str] = "turn"
    rate: float = 0.4
    seen: bool = False
    least: int = LEAST

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_least(self.least)

    def fit(self, sample: Sample) -> Grouped:
        return Grouped.of(sample, self.rate, Turns.of_sample(sample, self.least), self.seen)


@dataclass(frozen=True)
class ByLength:
    """A threshold for every bin of lengths: a mean over few tokens varies more.

    `bins` of about equally many calibration scores; those with fewer than `least` are merged.
    """

    name: ClassVar[str] = "length"
    rate: float = 0.4
    seen: bool = False
    bins: int = 4
    least: int = LEAST

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.bins < 1:
            raise ValueError(f"bins must be 1 or more, got {self.bins}")
        check_least(self.least)

    def fit(self, sample: Sample) -> Grouped:
        groups = Lengths.of_sample(sample, self.bins, self.least)
        return Grouped.of(sample, self.rate, groups, self.seen)


@dataclass(frozen=True)
class ByQuestion:
    """A threshold for every question, from scores of its own (ATTS, "conditional").

    Self-calibrated: it enforces about the same number of take-overs for every question, on a grid
    of 1/(m+1) with m scores of the question. Questions that are not in the calibration are refused.
    """

    name: ClassVar[str] = "question"
    rate: float = 0.4

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def fit(self, sample: Sample) -> Grouped:
        if not len(sample):
            raise UsageError("the calibration is empty, and the mode question needs scores of each")
        return Grouped.of(sample, self.rate, Questions(sample.known), seen=True)


@dataclass(frozen=True)
class WeightedByTurn:
    """Every calibration score counts, by decay to the power of how many turns it is away.

    Between `pooled` (decay 1) and `turn` (decay to 0), for late turns with few scores. The rate is
    no longer exact; Barber et al. 2023 bound by how much it is off (conformal.Weighted).
    """

    name: ClassVar[str] = "weighted"
    rate: float = 0.4
    seen: bool = False
    decay: float = 0.5

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, got {self.decay}")

    def fit(self, sample: Sample) -> "WeightedRule":
        return WeightedRule(sample, self)


@dataclass(frozen=True, eq=False)
class WeightedRule:
    """The rule of WeightedByTurn."""

    sample: Sample
    mode: WeightedByTurn

    @property
    def warnings(self) -> tuple[str, ...]:
        text = shortage(len(self.sample), self.mode.rate)
        return (text,) if text else ()

    def start(self) -> "WeightedRule":
        return self

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        check_unseen(self.sample, question, self.mode.seen)
        weights = self.mode.decay ** np.abs(self.sample.turns - turn).astype(float)
        reference = conformal.Weighted(self.sample.scores, weights)
        return decide_weighted(reference, score, self.mode.rate, u, f"around turn {turn}")


def decide_weighted(
    reference: conformal.Weighted, score: float, rate: float, u: float, group: str
) -> Judgement:
    """By comparison with weighted scores; the percentile is of weights."""
    p = percentile = None
    if isfinite(score):
        p = reference.p_value(score, u)
        below = float(reference.weights[reference.values < score].sum())
        percentile = below / (reference.total - 1) if len(reference.values) else None
    rejected, threshold = reference.rejects(score, rate, u), reference.threshold(rate)
    return Judgement(p, threshold, rejected, group, rate, len(reference.values), percentile)


@dataclass(frozen=True)
class Paper:
    """What the release of ATTS does: for replication, not for a guarantee.

    Only scores of the first turn calibrate, later turns are compared with them too, questions of
    the calibration are judged, the count has no +1, and ties are not broken.
    """

    name: ClassVar[str] = "paper"
    percentile: float = 0.6
    """Rejected if at least this share of the calibration lies strictly below."""

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 1:
            raise ValueError(f"percentile must be in 0..1, got {self.percentile}")

    @property
    def rate(self) -> float:
        return 1 - self.percentile

    def fit(self, sample: Sample) -> "PaperRule":
        first = sample.where(sample.turns == 0)
        return PaperRule(first, Reference.of(first.scores), self.percentile)


@dataclass(frozen=True, eq=False)
class PaperRule:
    """The rule of Paper."""

    sample: Sample
    reference: Reference
    percentile: float

    @property
    def warnings(self) -> tuple[str, ...]:
        return () if len(self.sample) else ("the calibration has no scores of turn 0",)

    def start(self) -> "PaperRule":
        return self

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        n, rate, p, share = self.reference.n, 1 - self.percentile, None, None
        rejected = not isfinite(score)
        if not rejected:
            below, _ = self.reference.place(score)
            p, share = (n + 1 - below) / (n + 1), below / n if n else None
            rejected = share is not None and share >= self.percentile
        k = max(int(np.ceil(self.percentile * n - SLACK)), 0)
        threshold = float(self.reference.values[k - 1]) if n and k else -np.inf if n else np.inf
        return Judgement(p, threshold, rejected, "turn 0", rate, n, share)
