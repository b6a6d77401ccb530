"""Modes without a state: what they say of a chunk depends on the calibration alone.

So decisions do not depend on the order in which chunks arrive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from calibration.conformal import Reference, shortage
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
    with fewer than `least` scores are merged with the next ones (groups.Bins). Few questions reach
    late turns, so that the rate of one such turn varies much between calibrations.
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
