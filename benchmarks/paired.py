"""Two ways measured in turns: how they compare, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A median over repeats, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Of the repeats' ratios; a repeat's two sides stay together."""
    return _median(np.asarray(ours, float) / np.asarray(theirs, float))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Of the repeats' differences, ours minus theirs."""
    return _median(np.asarray(ours, float) - np.asarray(theirs, float))


def _median(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Interval:
    rng = np.random.default_rng(0)
    draws = np.median(rng.choice(values, (DRAWS, len(values))), axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(float(np.median(values)), float(low), float(high))
