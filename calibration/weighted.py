"""The mode of weighted calibration scores; without a state, as those in modes."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from calibration import conformal
from calibration.conformal import shortage
from calibration.judging import Judgement, check_draw, check_rate, check_unseen
from calibration.sample import Sample


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
        """Turns of the sample whose scores weigh too little in all for anything to be rejected."""
        rate = self.mode.rate
        weighed = {
            turn: self._reference(turn).total for turn in np.unique(self.sample.turns).tolist()
        }
        light = [turn for turn, total in weighed.items() if 1 / total > rate + conformal.SLACK]
        if text := shortage(len(self.sample), rate):
            return (text,)
        if not light or not 0 < rate < 1:
            return ()
        first = light[0]
        return (
            f"scores around turn {first} count as {weighed[first] - 1:.1f} of their weight, and a "
            f"rate of {rate:g} needs {1 / rate - 1:.1f}: nothing is rejected there, nor at "
            f"{len(light) - 1} other turns; calibrate on more questions, choose a higher rate, or "
            "a decay nearer to 1",
        )

    def _reference(self, turn: int) -> conformal.Weighted:
        weights = self.mode.decay ** np.abs(self.sample.turns - turn).astype(float)
        return conformal.Weighted(self.sample.scores, weights)

    def start(self) -> "WeightedRule":
        return self

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        check_unseen(self.sample, question, self.mode.seen)
        reference = self._reference(turn)
        return decide_weighted(reference, score, self.mode.rate, u, f"around turn {turn}")


def decide_weighted(
    reference: conformal.Weighted, score: float, rate: float, u: float, group: str
) -> Judgement:
    """By comparison with weighted scores; the percentile is of weights."""
    check_draw(u)
    p = percentile = None
    if isfinite(score):
        p = reference.p_value(score, u)
        below = float(reference.weights[reference.values < score].sum())
        percentile = below / (reference.total - 1) if len(reference.values) else None
    rejected, threshold = reference.rejects(score, rate, u), reference.threshold(rate)
    return Judgement(p, threshold, rejected, group, rate, len(reference.values), percentile)
