"""What difference between two methods an evaluation can show, before it is paid for.

Per question, a difference of two methods that each draw n samples has the variance b + w/n: b is
that of the difference in solve rates, w the sum of both p(1-p) (Miller 2024, "Adding error bars to
evals"). Its mean over Q questions has (b + w/n)/Q for questions like these, and w/(nQ) for this
set. Power is that of the tests of eval.comparison at 5%, two-sided: for questions like these by
Student's t, which a permutation of signs comes close to (noncentral t); for this set by the normal
law, with the variance that labels permuted within questions have. Both lose half a step of the
lattice of possible differences, 1/(nQ), as an exact test does. Simulated, both hold within 3
points at accuracies from 0.5 to 0.8; they are up to 10 too low where few samples are right, and for
this set with one sample a question.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal, get_args

from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit

from eval.intervals import CONFIDENCE, Z
from reason.errors import UsageError

Which = Literal["this_set", "like_these"]
READINGS: tuple[Which, ...] = get_args(Which)
POWER = 0.8
"""Chance with which a difference that is called detectable is found significant."""
CERTAIN = 40.0
"""Standard errors beyond which nothing is missed; the noncentral t would overflow."""
MOST = 1_000_000
"""Samples or questions beyond which none is called enough."""


@dataclass(frozen=True)
class Design:
    """What is assumed of an evaluation.

    By default half of the answers are right, 60% of their variance lies between questions (0.67 was
    measured of a 7B model on MATH, 60 questions of 8 samples), and the solve rates of two methods
    on one model correlate at 0.9. With one AIME (30 questions) and 64 repeats that makes a
    difference of 3 points detectable for this set, and one of 10 for questions like these.
    """

    questions: int
    accuracy: float = 0.5
    """Of the first method; the second is better by the difference."""
    icc: float = 0.6
    """Share of the variance of an answer that lies between questions."""
    correlation: float = 0.9
    """Of the solve rates of the two methods over questions."""

    def __post_init__(self) -> None:
        if self.questions < 2:
            raise ValueError(f"questions must be 2 or more, got {self.questions}")
        if not 0 < self.accuracy < 1:
            raise ValueError(
                f"accuracy must be a share between 0 and 1, such as 0.5, got {self.accuracy}"
            )
        for name in ("icc", "correlation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")

    def variances(self, difference: float) -> tuple[float, float]:
        """b and w, for a second method that is better by the difference."""
        one = self.accuracy * (1 - self.accuracy)
        better = self.accuracy + difference
        two = better * (1 - better)
        between = self.icc * (one + two - 2 * self.correlation * sqrt(one * two))
        return between, (1 - self.icc) * (one + two)


def power(
    difference: float, between: float, within: float, questions: int, repeats: int, which: Which
) -> float:
    """Chance that the test of that reading finds the difference, b and w given."""
    seen = difference - 1 / (repeats * questions)
    noise = sqrt(within / repeats / questions)
    if which == "like_these":
        error = sqrt((between + within / repeats) / questions)
        bar = float(stdtrit(questions - 1, (1 + CONFIDENCE) / 2))
        if error == 0:
            return float(seen > 0)
        centre = seen / error
        from scipy.stats import nct  # slow to import

        return float(nct.sf(bar, questions - 1, min(centre, CERTAIN)))
    squares = between + difference**2  # mean over questions of the squared difference in rates
    bar = Z * sqrt((within / repeats + squares / (2 * repeats - 1)) / questions)
    if noise == 0:
        return float(seen > bar)
    return float(ndtr((seen - bar) / noise))


def power_of(design: Design, difference: float, repeats: int, which: Which) -> float:
    """The same by what is assumed."""
    b, w = design.variances(difference)
    return power(difference, b, w, design.questions, repeats, which)


def detectable(design: Design, repeats: int, which: Which) -> float | None:
    """The smallest difference that is found with a chance of POWER (the minimum detectable effect);
    None where not even an accuracy of 1 would be. Raises UsageError for repeats below 1."""
    check_repeats(repeats)
    room = 1 - design.accuracy

    def excess(difference: float) -> float:
        return power_of(design, difference, repeats, which) - POWER

    if excess(room) < 0:
        return None
    return float(brentq(excess, 0.0, room, xtol=1e-6))


def repeats_needed(design: Design, difference: float, which: Which) -> int | None:
    """The fewest samples a question that find the difference; None where no number would."""
    check_difference(design, difference)
    return _fewest(1, lambda n: power_of(design, difference, n, which))


def questions_needed(design: Design, difference: float, repeats: int, which: Which) -> int | None:
    """The fewest questions that find the difference with so many samples each."""
    check_difference(design, difference)
    check_repeats(repeats)

    def found(questions: int) -> float:
        return power_of(replace(design, questions=questions), difference, repeats, which)

    return _fewest(2, found)


def check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more, got {repeats}")


def check_difference(design: Design, difference: float) -> None:
    room = 1 - design.accuracy
    if not 0 < difference <= room:
        raise UsageError(
            f"difference must be above 0, and at most {room:g} where the accuracy is "
            f"{design.accuracy:g}, got {difference:g}"
        )


def _fewest(start: int, found: Callable[[int], float]) -> int | None:
    """The smallest number from `start` on that reaches POWER, by bisection."""
    low, high = start - 1, start
    while found(high) < POWER:
        low, high = high, high * 2
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= POWER else (middle, high)
    return high
