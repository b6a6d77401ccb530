"""A test martingale on p-values: an alarm, at any time, that they are no longer exchangeable.

The "simple jumper" of Vovk et al. 2021, "Retrain or not retrain: conformal test martingales for
change-point detection": capital is spread over five stakes, from all on low p-values to all on
high ones, and a part of it is spread anew at each step. While p-values are uniform and
independent, wealth ever reaches 100 with a chance of at most 1% (Ville's inequality).

Smoothed p-values are independent only if each judged score joins the calibration (`online`). Those
against a fixed calibration share its error, and a long run of them raises false alarms. Chunks of
one question are not exchangeable with those of others either, and clustering alone can raise one.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log10

STAKES = (-1.0, -0.5, 0.0, 0.5, 1.0)
JUMP = 0.01
ALARM = 2.0
"""log10 of the wealth at which to raise one."""


@dataclass
class Jumper:
    """The wealth of one stream of p-values."""

    wealth: float = 0.0
    """log10; it begins with 1."""
    highest: float = 0.0
    steps: int = 0
    alarm: int | None = None
    """The step, from 1 on, at which wealth first reached ALARM."""
    shares: list[float] = field(default_factory=lambda: [1 / len(STAKES)] * len(STAKES))
    """Of the capital, on each stake."""

    def update(self, p: float) -> float:
        """Bet on the next p-value, in 0..1; the log10 of the wealth after it."""
        moved = [(1 - JUMP) * share + JUMP / len(STAKES) for share in self.shares]
        grown = [share * (1 + e * (p - 0.5)) for share, e in zip(moved, STAKES, strict=True)]
        total = sum(grown)
        self.shares = [share / total for share in grown]
        self.wealth += log10(total)
        self.highest = max(self.highest, self.wealth)
        self.steps += 1
        if self.alarm is None and self.wealth >= ALARM:
            self.alarm = self.steps
        return self.wealth


@dataclass
class Online:
    """Scores of one group, which each judged one joins, in ascending order."""

    held: list[float]

    def p_value(self, score: float, u: float) -> float:
        """The smoothed p-value (conformal.Reference) of a finite score, which then joins."""
        first, last = bisect_left(self.held, score), bisect_right(self.held, score)
        p = (len(self.held) - last + (1 - u) * (last - first + 1)) / (len(self.held) + 1)
        insort(self.held, score)
        return p


def wealth(p_values: Iterable[float]) -> tuple[Jumper, list[float]]:
    """The end of a stream, and the log10 of the wealth after each of its steps."""
    jumper = Jumper()
    return jumper, [jumper.update(p) for p in p_values]
