"""What chunks of one question have in common, and what that does to a share of rejections.

The exchangeable unit is the question. Where chunks of a question resemble each other, n of them
tell as much as n over the design effect independent ones would (Kish 1965, "Survey Sampling").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.conformal import expected

CONFIDENCE = 0.95
RESAMPLES = 9999
BATCH = 1000
"""Resamples that are in memory at a time."""
EDGES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Clustering:
    """How much the chunks of a question resemble each other."""

    icc: float
    """Intraclass correlation: the share of the variance that lies between questions, 0..1."""
    effect: float
    """Design effect: by how much clustering multiplies the variance of the mean, 1 or more."""
    effective: float
    """As many independent chunks would tell as much."""


def clustering(values: ArrayLike, questions: Sequence[str]) -> Clustering:
    """Of at least one value; one-way analysis of variance, for unequal numbers too (Donner 1986,
    "A review of inference procedures for the intraclass correlation coefficient").

    Where no two values differ, or all are of one question, there is nothing to learn it from: then
    each question counts as one chunk.
    """
    x = np.asarray(values, float)
    labels = np.unique(np.asarray(questions, dtype=str), return_inverse=True)[1]
    sizes = np.bincount(labels).astype(float)
    n, k = len(x), len(sizes)
    typical = float(sizes @ sizes) / n
    if k == n:
        icc = 0.0
    elif k == 1 or np.ptp(x) == 0:
        icc = 1.0
    else:
        means = np.bincount(labels, x) / sizes
        between = float(sizes @ (means - x.mean()) ** 2) / (k - 1)
        within = float(((x - means[labels]) ** 2).sum()) / (n - k)
        each = (n - typical) / (k - 1)
        icc = min(max((between - within) / (between + (each - 1) * within), 0.0), 1.0)
    effect = 1 + (typical - 1) * icc
    return Clustering(icc, effect, n / effect)


def clopper_pearson(rejected: int, n: int) -> Interval:
    """Exact binomial interval (Clopper & Pearson 1934): too narrow for clustered chunks."""
    from scipy import stats  # slow to import

    found = stats.binomtest(rejected, n).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def bootstrap(rejected: ArrayLike, questions: Sequence[str], seed: int = 0) -> Interval | None:
    """Percentile bootstrap of the share, over questions with all their chunks (Davison & Hinkley
    1997, 3.8); seeded. None for a single question."""
    labels = np.unique(np.asarray(questions, dtype=str), return_inverse=True)[1]
    sizes, counts = np.bincount(labels), np.bincount(labels, np.asarray(rejected, float))
    if len(sizes) < 2:
        return None
    rng = np.random.default_rng(seed)
    shares = []
    for start in range(0, RESAMPLES, BATCH):
        drawn = rng.integers(len(sizes), size=(min(BATCH, RESAMPLES - start), len(sizes)))
        shares.append(counts[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(shares), EDGES)
    return float(low), float(high)


def band(n: int, chunks: float, rate: float, effective: float | None = None) -> Interval:
    """Where the share of so many exchangeable chunks lies in 95 of 100 runs, each with a
    calibration of n: quantiles of the BetaBinomial (conformal), by the number of chunks.

    A binomial would be too narrow, since the calibration is a draw as well. For clustered chunks,
    give the `effective` numbers of both: the threshold, and with it the mean, is that of all n, the
    spread that of as many independent scores.
    """
    from scipy import stats  # slow to import

    judged, mean = max(int(chunks), 1), expected(n, rate)
    if mean in (0.0, 1.0):
        return mean, mean
    weight = (n if effective is None else min(effective, n)) + 1
    law = stats.betabinom(judged, mean * weight, (1 - mean) * weight)
    chances = law.pmf(np.arange(judged + 1))
    low, high = np.searchsorted(np.cumsum(chances), EDGES)  # scipy's ppf takes a hundredfold
    return int(low) / judged, int(high) / judged
