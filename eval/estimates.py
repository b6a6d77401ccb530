"""What several samples of a question tell: pass@k, maj@k, avg@k, and where the variance lies.

All are expectations over the choice of k of a question's n samples, averaged over questions; never
the outcome of the first k. Their intervals are for questions like these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt
from statistics import fmean, stdev, variance

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from eval.intervals import bounded
from eval.samples import Sample
from reason.answers import normalise
from reason.errors import UsageError

LARGEST = 50_000_000
"""Multiplications by which a vote is counted exactly; beyond, it is drawn."""
DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Votes:
    """The samples of one question, by answer."""

    counts: tuple[int, ...]
    """How often each answer was given."""
    right: tuple[float, ...]
    """1 for an answer that is right, 0 for one that is wrong."""
    blanks: int = 0
    """Samples without an answer: they may be among the k, and do not vote."""

    @property
    def samples(self) -> int:
        return sum(self.counts) + self.blanks


@dataclass(frozen=True, slots=True)
class Expectation:
    """An expectation, and the standard error of having drawn it: 0 where it was counted."""

    value: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class AtK:
    """A figure at k samples, averaged over questions."""

    value: float
    low: float
    high: float
    """95%, for questions like these (eval.intervals.bounded)."""
    standard_error: float | None
    """sd(questions) / sqrt(Q); None for a single question."""
    drawn: float = 0.0
    """Standard error of having drawn the value: 0 where it was counted."""


@dataclass(frozen=True, slots=True)
class Components:
    """The variance of a single answer: what lies between questions, and within them."""

    accuracy: float
    between: float
    """Variance of the solve rates of questions."""
    within: float
    """Mean over questions of p(1-p)."""

    @property
    def icc(self) -> float:
        """Share that lies between: the intraclass correlation of two samples of a question."""
        total = self.between + self.within
        return self.between / total if total else 0.0


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of k samples is right, if c of n are: 1 - C(n-c,k) / C(n,k).

    Unbiased, as a product (Chen et al. 2021, "Evaluating large language models trained on code").
    Raises UsageError for k greater than n.
    """
    _check(k, n)
    if not 0 <= c <= n:
        raise UsageError(f"of {n} samples 0 to {n} can be right, got {c}")
    return 1.0 if n - c < k else 1.0 - prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def avg_at_k(n: int, c: int) -> float:
    """Share that is right of all n samples, c of them right: pass@1 from n samples, avg@n."""
    return pass_at_k(n, c, 1)


def maj_at_k(votes: Votes, k: int, seed: int = 0) -> Expectation:
    """Chance that the most common answer of k samples is right (Wang et al. 2023), over all
    choices of k.

    A tie is shared: each of the answers that are most common has the same part of it, which is
    what "first seen wins" gives on average over the order of the samples. Where none of the k has
    an answer, the vote is wrong. Counted exactly; where that would take more than LARGEST steps,
    DRAWS seeded choices are averaged, and their standard error is given.
    """
    _check(k, votes.samples)
    ordered = sorted(zip(votes.counts, votes.right, strict=True))  # the order makes no difference
    votes = Votes(tuple(c for c, _ in ordered), tuple(r for _, r in ordered), votes.blanks)
    if votes.samples * k * k * max(sum(votes.right), 1) <= LARGEST:
        return Expectation(_counted(votes, k))
    return _drawn(votes, k, seed)


def votes_of(rows: Iterable[Sample]) -> Votes:
    """The samples of one question by answer: as text, normalised, as the methods vote."""
    forms: dict[str, list[bool]] = {}
    blanks = 0
    for row in rows:
        if row.answer is None:
            blanks += 1
        else:
            forms.setdefault(normalise(row.answer), []).append(row.correct)
    counts = tuple(len(given) for given in forms.values())
    return Votes(counts, tuple(fmean(given) for given in forms.values()), blanks)


def pass_at(questions: Mapping[str, Sequence[Sample]], k: int) -> AtK:
    """pass@k over questions; k = 1 is avg@n. Raises UsageError naming a question that is short."""
    _enough(questions, k)
    values = [pass_at_k(len(q), sum(row.correct for row in q), k) for q in questions.values()]
    return _over_questions([Expectation(value) for value in values])


def maj_at(questions: Mapping[str, Sequence[Sample]], k: int, seed: int = 0) -> AtK:
    """maj@k over questions. Raises UsageError naming a question that is short of samples."""
    _enough(questions, k)
    return _over_questions([maj_at_k(votes_of(q), k, seed) for q in questions.values()])


def at_each_k(questions: Mapping[str, Sequence[Sample]]) -> dict[str, AtK]:
    """By name: avg@n, and pass@k and maj@k for the powers of two up to n, and n.

    n is what every question has of samples, or the fewest; avg@n only where all have as many, and
    the others where there are several.
    """
    sizes = {len(rows) for rows in questions.values()}
    n = min(sizes)
    found = {f"avg@{n}": pass_at(questions, 1)} if len(sizes) == 1 else {}
    several = sorted({2**power for power in range(1, n.bit_length()) if 2**power <= n} | {n} - {1})
    found |= {f"pass@{k}": pass_at(questions, k) for k in several}
    return found | {f"maj@{k}": maj_at(questions, k) for k in several}


def by_question(rows: Iterable[Sample]) -> dict[str, list[Sample]]:
    """The samples of each question, in order of their repeats."""
    questions: dict[str, list[Sample]] = {}
    for row in sorted(rows, key=lambda row: row.key):
        questions.setdefault(row.id, []).append(row)
    return questions


def components(means: Sequence[float], samples: Sequence[int]) -> Components | None:
    """The variance of a single answer, split; None unless there are two questions or more, each
    with two samples or more.

    Within: the mean of x(1-x)n/(n-1), unbiased for p(1-p). Between: the variance of the question
    means, less what the samples add to it, and not below 0 (analysis of variance; Miller 2024).
    """
    if len(means) < 2 or min(samples) < 2:
        return None
    each = [x * (1 - x) * n / (n - 1) for x, n in zip(means, samples, strict=True)]
    noise = fmean(value / n for value, n in zip(each, samples, strict=True))
    return Components(fmean(means), max(variance(means) - noise, 0.0), fmean(each))


def _check(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise UsageError(f"k must be 1 to {n}, the samples of a question, got {k}")


def _enough(questions: Mapping[str, Sequence[Sample]], k: int) -> None:
    if not questions:
        raise UsageError("there is no question to estimate from")
    fewest = min(questions, key=lambda name: len(questions[name]))
    if not 1 <= k <= len(questions[fewest]):
        raise UsageError(
            f"k must be 1 to {len(questions[fewest])}, the samples of question {fewest!r}, got {k}"
        )


def _over_questions(found: Sequence[Expectation]) -> AtK:
    values = [one.value for one in found]
    low, high = bounded(values)
    size = len(values)
    return AtK(
        fmean(values),
        low,
        high,
        stdev(values) / sqrt(size) if size > 1 else None,
        sqrt(sum(one.error**2 for one in found)) / size,
    )


@lru_cache(maxsize=1 << 16)  # in large evaluations many questions come out alike
def _counted(votes: Votes, k: int) -> float:
    """Sum over the winner, its votes, and the others that tie with it, of the choices of k."""
    chances = [_chances(count, votes.samples, k) for count in votes.counts]
    blanks = _chances(votes.blanks, votes.samples, k)
    found = 0.0
    for winner, share in enumerate(votes.right):
        for won in range(1, min(votes.counts[winner], k) + 1 if share else 1):
            # ways[t, j]: chance that the others have j samples, and t of them as many as won
            ways = np.zeros((k // won, k - won + 1))
            ways[0, 0] = 1.0
            ways = _convolved(ways, blanks)
            for other, chance in enumerate(chances):
                if other != winner:
                    below = _convolved(ways, chance[:won])
                    if len(chance) > won and won < ways.shape[1]:
                        below[1:, won:] += chance[won] * ways[:-1, : ways.shape[1] - won]
                    ways = below
            parts = ways[:, -1] / np.arange(1, len(ways) + 1)
            found += share * float(chances[winner][won] * parts.sum())
    return min(found / float(_chances(votes.samples, votes.samples, k)[k]), 1.0)


def _chances(count: int, samples: int, k: int) -> NDArray[np.float64]:
    """C(count,i) q^i (1-q)^(count-i) for i up to k: the choices of i, weighted so that they do not
    overflow, by a q for which k of all samples are a likely choice. The weights cancel."""
    i = np.arange(min(count, k) + 1)
    q = k / (samples + 1)
    log = gammaln(count + 1) - gammaln(i + 1) - gammaln(count - i + 1)
    weighted: NDArray[np.float64] = np.exp(log + xlogy(i, q) + xlog1py(count - i, -q))
    return weighted


def _convolved(ways: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    width = ways.shape[1]
    found = np.zeros_like(ways)
    for i, chance in enumerate(chances[:width]):
        found[:, i:] += chance * ways[:, : width - i]
    return found


def _drawn(votes: Votes, k: int, seed: int) -> Expectation:
    """The mean of DRAWS choices of k, without replacement."""
    rng = np.random.default_rng(seed)
    counts = [*votes.counts, votes.blanks]
    drawn = rng.multivariate_hypergeometric(counts, k, DRAWS, method="marginals")[:, :-1]
    most = drawn.max(axis=1, keepdims=True, initial=0)
    winners = (drawn == most) & (most > 0)
    shares = winners @ np.array(votes.right) / np.maximum(winners.sum(axis=1), 1)
    return Expectation(float(shares.mean()), float(shares.std(ddof=1)) / sqrt(DRAWS))
