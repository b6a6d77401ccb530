"""Tests of no difference between two methods on the same questions, and the price of many tests.

Two-sided. Exact where the distribution over all arrangements can be convolved on the lattice of the
differences (Pagano & Tritchler 1983, "On obtaining permutation distributions in polynomial time"),
which is so wherever every question has the same number of samples; else by 9,999 seeded draws,
p = (1 + as extreme) / (1 + draws) (Phipson & Smyth 2010).
"""

from collections.abc import Iterator, Mapping
from math import erfc, lcm, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from eval.intervals import BATCH, RESAMPLES, Groups, units_of

LARGEST = 1_000_000_000
"""Additions that an exact distribution may take; beyond, it is drawn."""
MOST_FLIPPED = 16
"""Differences of which all signs are tried."""
SLACK = 1e-9
"""What rounding may take from a statistic that is as extreme as the one seen."""

Counts = NDArray[np.int64]
Array = NDArray[np.float64]


def mcnemar(won: int, lost: int) -> float:
    """Exact test of discordant pairs (McNemar 1947): binomial, with a chance of 1/2."""
    from scipy import stats  # slow to import

    return float(stats.binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def sign_flip(
    first: Counts, n: Counts, second: Counts, m: Counts, seed: int = 0, groups: Groups = None
) -> float:
    """Sign-flip permutation of the differences by question (Fisher 1935), for questions like these.

    `first` of `n` samples are right by question, and `second` of `m`. Under the hypothesis a
    question's difference is as likely as its negative, or those of a whole group of questions are.
    """
    fine = lcm(*map(int, {*n.tolist(), *m.tolist()}))
    by_question = first * (fine // n) - second * (fine // m)
    labels, size = units_of(groups, len(first))
    differences = np.zeros(len(size), np.int64)
    np.add.at(differences, labels, by_question)
    steps = np.abs(differences[differences != 0])
    if not len(steps):
        return 1.0
    unit = int(np.gcd.reduce(steps))
    if len(steps) * int(steps.sum()) // unit > LARGEST:
        return _extreme(_flips(differences / fine, seed), abs(float((differences / fine).sum())))
    chances = np.ones(1)  # of the sums, from the lowest, two units apart
    for step in (steps // unit).tolist():
        wider = np.zeros(len(chances) + step)
        wider[: len(chances)] += chances / 2
        wider[step:] += chances / 2
        chances = wider
    sums = 2 * np.arange(len(chances), dtype=float) - (len(chances) - 1)
    return _tail(chances, sums, abs(int(differences.sum())) / unit)


def flipped(differences: Array, seed: int = 0) -> float:
    """Sign flips of differences by question that lie on no lattice: all of them where few questions
    differ, else drawn."""
    moved = differences[np.abs(differences) > SLACK]
    if len(moved) > MOST_FLIPPED:
        return _extreme(_flips(moved, seed), abs(float(moved.sum())))
    sums = np.zeros(1)
    for difference in moved:
        sums = np.concatenate((sums + difference, sums - difference))
    return float(np.mean(np.abs(sums) >= abs(float(moved.sum())) - SLACK))


def relabelled(first: Counts, n: Counts, second: Counts, m: Counts) -> float:
    """Permutation of the labels of the samples within each question, for this set of questions.

    Under the hypothesis that both methods solve each question equally often, the right samples of
    a question fall to the first as a hypergeometric draw. With one sample each it is McNemar's
    test. Where the exact distribution would take too long, it is that of Cochran, Mantel and
    Haenszel (1959): as many terms as that are normal.
    """
    right = first + second
    fine = lcm(*map(int, {*n.tolist(), *m.tolist()}))
    steps = fine // n + fine // m  # what one more right sample moves
    mixed = (right > 0) & (right < n + m)
    if not mixed.any():
        return 1.0
    unit = int(np.gcd.reduce(steps[mixed]))
    spans = (np.minimum(right, n) - np.maximum(right - m, 0)) * (steps // unit)
    fewest = np.maximum(right - m, 0)
    lowest = int((fewest * steps - right * (fine // m)).sum())
    seen = abs(int((first * steps - right * (fine // m)).sum()))
    if int(spans.sum()) * int(np.minimum(n, m).sum()) > LARGEST:
        share = n / (n + m)
        total = n + m
        spread = right * share * (1 - share) * (total - right) / np.maximum(total - 1, 1)
        return float(erfc(seen / sqrt(2 * float((spread * steps**2).sum()))))
    chances = np.ones(1)
    for here in np.flatnonzero(mixed).tolist():
        kernel = _hypergeometric(int(right[here]), int(n[here]), int(m[here]))
        wider = np.zeros(len(chances) + int(spans[here]))
        for won, chance in enumerate(kernel):
            start = won * int(steps[here]) // unit
            wider[start : start + len(chances)] += chance * chances
        chances = wider
    return _tail(chances, lowest + unit * np.arange(len(chances), dtype=float), seen)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values adjusted for being several (Holm 1979), under their names."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    ranked = sorted(p_values, key=p_values.__getitem__)
    for rank, name in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def _hypergeometric(right: int, a: int, b: int) -> Array:
    """Chances that the first has so many of the right samples, from the fewest it can have."""
    won = np.arange(max(right - b, 0), min(right, a) + 1)

    def choose(of: int, k: NDArray[np.int64]) -> Array:
        log: Array = gammaln(of + 1) - gammaln(k + 1) - gammaln(of - k + 1)
        return log

    chances = np.exp(choose(a, won) + choose(b, right - won))
    return np.asarray(chances / chances.sum())


def _tail(chances: Array, statistics: Array, seen: float) -> float:
    return min(float(chances[np.abs(statistics) >= seen - SLACK].sum()), 1.0)


def _extreme(drawn: Iterator[Array], seen: float) -> float:
    found = sum(int((np.abs(sums) >= seen - SLACK).sum()) for sums in drawn)
    return (1 + found) / (1 + RESAMPLES)


def _flips(differences: Array, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    for size in _batches():
        yield rng.choice((-1.0, 1.0), size=(size, len(differences))) @ differences


def _batches() -> Iterator[int]:
    for start in range(0, RESAMPLES, BATCH):
        yield min(BATCH, RESAMPLES - start)
