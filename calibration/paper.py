"""The mode of the release of ATTS; without a state, as those in modes."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from calibration.conformal import SLACK, Reference
from calibration.judging import Judgement
from calibration.sample import Sample


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
            # without a calibration, a rate of 1 rejects all the same
            rejected = not self.percentile if share is None else share >= self.percentile
        k = max(int(np.ceil(self.percentile * n - SLACK)), 0)
        threshold = float(self.reference.values[k - 1]) if n and k else -np.inf if n else np.inf
        return Judgement(p, threshold, rejected, "turn 0", rate, n, share)
