"""The answers of one question as votes: how often the most common of k samples is right."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

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


def maj_at_k(votes: Votes, k: int, seed: int = 0) -> Expectation:
    """Chance that the most common answer of k samples is right (Wang et al. 2023), over all
    choices of k.

    A tie is shared: each of the answers that are most common has the same part of it, which is
    what "first seen wins" gives on average over the order of the samples. Where none of the k has
    an answer, the vote is wrong. Counted exactly; where that would take more than LARGEST steps,
    DRAWS seeded choices are averaged, and their standard error is given.
    """
    check_k(k, votes.samples)
    ordered = sorted(zip(votes.counts, votes.right, strict=True))  # the order makes no difference
    votes = Votes(tuple(c for c, _ in ordered), tuple(r for _, r in ordered), votes.blanks)
    if votes.samples * k * k * max(sum(votes.right), 1) <= LARGEST:
        return Expectation(_counted(votes, k))
    return _drawn(votes, k, seed)


def votes_of(rows: Iterable[Sample]) -> Votes:
    """The samples of one question by answer: as text, normalised, as the methods vote."""
    said: dict[str | None, list[bool]] = {}
    for row in rows:
        said.setdefault(row.answer, []).append(row.correct)
    blanks = len(said.pop(None, ()))
    forms: dict[str, list[bool]] = {}
    for answer, given in said.items():
        forms.setdefault(normalise(answer or ""), []).extend(given)
    counts = tuple(len(given) for given in forms.values())
    return Votes(counts, tuple(fmean(given) for given in forms.values()), blanks)


def check_k(k: int, n: int) -> None:
    """Raise UsageError for k beyond the n samples of a question."""
    if not 1 <= k <= n:
        raise UsageError(f"k must be 1 to {n}, the samples of a question, got {k}")


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
    if len(ways) < len(chances):  # whichever takes fewer steps
        return np.array([np.convolve(row, chances)[:width] for row in ways])
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
