"""Conformal p-values and thresholds of the calibration scores of one group.

A score is a surprise: higher is less reliable. `rate` is the share that is to be rejected, which
the ATTS paper writes 1 - alpha. With n calibration scores, a chunk is rejected if its score stands
above the k-th smallest, k = ceil((n+1)(1-rate)). If scores are exchangeable that happens with a
chance of exactly (n+1-k)/(n+1), the share of a calibration at hand is Beta(n+1-k, k), and a count
of M chunks BetaBinomial(M, n+1-k, k) (Vovk et al. 2005, "Algorithmic Learning in a Random World",
2.2; Angelopoulos & Bates 2023, "A Gentle Introduction to Conformal Prediction", 3.2).

Ties are broken at random by u in [0, 1), which the caller draws: the score takes one of the T+1
places among its T equals, a high u a high place. A strict ">" alone would reject too few.
"""

import hashlib
from dataclasses import dataclass
from math import ceil, floor, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reason.errors import UsageError

SLACK = 1e-9
"""What rounding may add to (n+1)(1-rate) where it is a whole number."""

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def rank(n: int, rate: float) -> int:
    """k: with so many calibration scores below it, one is rejected.

    0 (all are rejected) for a rate of 1 or more, and above n (none is) for a rate too small for n,
    such as 0 or less: an adaptive rate may leave 0..1.
    """
    return max(ceil((n + 1) * (1 - rate) - SLACK), 0)


def expected(n: int, rate: float) -> float:
    """The exact chance of a rejection, of exchangeable scores: rate, rounded down to 1/(n+1)."""
    return max(n + 1 - rank(n, rate), 0) / (n + 1)


def needed(rate: float) -> int | None:
    """The fewest calibration scores with which anything is rejected; None if nothing ever is."""
    return ceil((1 - rate) / rate - SLACK) if 0 < rate < 1 else 0 if rate >= 1 else None


def shortage(n: int, rate: float, group: str = "") -> str | None:
    """What to say of a group that is too small for the rate, so that its threshold is infinite."""
    least = needed(rate)
    if least is None or n >= least:
        return None
    name = f"group {group!r}" if group else "the calibration"
    return (
        f"{name} has {n} scores and a rate of {rate:g} needs {least}: its threshold is infinite "
        "and nothing there is rejected; calibrate on more questions, or choose a higher rate"
    )


def tie_break(seed: int, *place: object) -> float:
    """A uniform number in [0, 1) of that place: the same whoever asks, and in whatever order."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """The calibration scores of one group, finite, in ascending order. May be empty."""

    values: Array

    @classmethod
    def of(cls, scores: ArrayLike) -> "Reference":
        """Scores in any order. Raises UsageError for one that is not finite."""
        values: Array = np.sort(np.asarray(scores, float).ravel())
        if not np.isfinite(values).all():
            wrong = values[~np.isfinite(values)][0]
            raise UsageError(
                f"a calibration score is {wrong}, expected a finite number: leave such chunks out "
                "(one that is judged later is always rejected)"
            )
        return cls(values)

    @property
    def n(self) -> int:
        return len(self.values)

    def threshold(self, rate: float) -> float:
        """The k-th smallest score: inf rejects none, -inf all."""
        k = rank(self.n, rate)
        return -inf if k == 0 else inf if k > self.n else float(self.values[k - 1])

    def place(self, score: float) -> tuple[int, int]:
        """How many calibration scores are strictly below one score, and how many are equal."""
        first = int(self.values.searchsorted(score, "left"))
        return first, int(self.values.searchsorted(score, "right")) - first

    def below(self, scores: ArrayLike) -> Counts:
        """How many calibration scores are strictly below each."""
        return np.asarray(np.searchsorted(self.values, np.asarray(scores, float), "left"))

    def tied(self, scores: ArrayLike) -> Counts:
        """How many calibration scores are equal to each."""
        found = np.asarray(scores, float)
        return np.asarray(np.searchsorted(self.values, found, "right")) - self.below(found)

    def ranks(self, scores: ArrayLike, u: ArrayLike) -> Counts:
        """How many calibration scores count as below, once ties are broken by `u`: 0..n."""
        places = np.floor(np.asarray(u, float) * (self.tied(scores) + 1)).astype(np.int64)
        return self.below(scores) + places

    def p_values(self, scores: ArrayLike, u: ArrayLike) -> Array:
        """(1 + how many count as above) / (n+1), of finite scores: small for a great surprise.

        Uniform on 1/(n+1), …, 1 if scores are exchangeable; rejected are those of at most `rate`.
        """
        return np.asarray((self.n + 1 - self.ranks(scores, u)) / (self.n + 1))

    def smoothed(self, scores: ArrayLike, u: ArrayLike) -> Array:
        """(above + (1-u)(1 + tied)) / (n+1): uniform on (0, 1], for tests of uniformity.

        It lies at most 1/(n+1) below the p-value (Vovk et al. 2005, 2.4).
        """
        tied = self.tied(scores)
        above = self.n - self.below(scores) - tied
        return np.asarray((above + (1 - np.asarray(u, float)) * (tied + 1)) / (self.n + 1))

    def rejects(self, scores: ArrayLike, rate: float, u: ArrayLike) -> Flags:
        """Which are rejected; those that are not finite always are."""
        found = np.asarray(scores, float)
        return np.asarray((self.ranks(found, u) >= rank(self.n, rate)) | ~np.isfinite(found))


@dataclass(frozen=True, eq=False, slots=True)
class Weighted:
    """Calibration scores in ascending order that count by weights in (0, 1]; the judged counts 1.

    Weighted conformal prediction for scores that are not exchangeable (Barber et al. 2023,
    "Conformal prediction beyond exchangeability"): with normalised weights w_i, the rate is off by
    at most the sum of w_i times the total variation distance that a swap with score i makes.
    With weights of 1 it says what Reference says.
    """

    values: Array
    weights: Array

    @classmethod
    def of(cls, scores: ArrayLike, weights: ArrayLike) -> "Weighted":
        """Finite scores in any order, and their weights."""
        values, held = np.asarray(scores, float), np.asarray(weights, float)
        order = np.argsort(values, kind="stable")
        return cls(values[order], held[order])

    @property
    def total(self) -> float:
        """The weight of all, with that of the judged one."""
        return float(self.weights.sum()) + 1

    def p_value(self, score: float, u: float) -> float:
        """The weight that counts as above, and its own, by the total; `score` is finite."""
        first, last = np.searchsorted(self.values, score, "left"), self._after(score)
        last = int(first) + floor(u * (last - int(first) + 1))
        return (self.total - float(self.weights[:last].sum())) / self.total

    def rejects(self, score: float, rate: float, u: float) -> bool:
        """Whether its p-value is at most the rate; one that is not finite is always rejected."""
        if not np.isfinite(score):
            return True
        return self.p_value(score, u) <= rate + SLACK / self.total

    def threshold(self, rate: float) -> float:
        """The smallest score with a weight of (1-rate) of the total up to it; inf if none has."""
        enough = self.total * (1 - rate) - SLACK
        if enough <= 0:
            return -inf
        found = int(np.searchsorted(np.cumsum(self.weights), enough, "left"))
        return float(self.values[found]) if found < len(self.values) else inf

    def _after(self, score: float) -> int:
        return int(np.searchsorted(self.values, score, "right"))
