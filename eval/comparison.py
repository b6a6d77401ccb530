"""Two evaluations on the same questions, compared by pairs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.metrics import CONFIDENCE
from eval.samples import Sample
from reason.errors import UsageError

RESAMPLES = 9999
_BATCH = 500  # resamples held in memory at a time


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more often the first is right than the second, on average over questions."""

    questions: int
    mean: float
    low: float
    high: float
    """95% percentile bootstrap over questions."""
    p_value: float
    """Two-sided, of no difference."""
    test: str


def paired_difference(
    first: Iterable[Sample], second: Iterable[Sample], seed: int = 0
) -> Difference:
    """The mean difference by question, its interval and its p-value.

    McNemar's exact test where every question has one sample on either side, else a sign-flip
    permutation test of the question means: exact up to 13 questions, 9999 seeded resamples
    beyond. Raises UsageError if the questions are not the same, or fewer than two.
    """
    a, b = _by_question(first), _by_question(second)
    if a.keys() != b.keys():
        lone = sorted(a.keys() ^ b.keys())
        raise UsageError(
            f"a paired comparison needs the same questions on both sides; {len(lone)} are on one "
            f"side only, such as {lone[0]!r}"
        )
    if len(a) < 2:
        raise UsageError(f"a paired comparison needs at least two questions, got {len(a)}")
    means = np.array([np.mean(a[question]) - np.mean(b[question]) for question in sorted(a)])
    interval = stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    single = all(len(given) == 1 for side in (a, b) for given in side.values())
    return Difference(
        questions=len(means),
        mean=float(means.mean()),
        low=float(interval.low),
        high=float(interval.high),
        p_value=_mcnemar(means) if single else _sign_flip(means, seed),
        test="McNemar exact" if single else "sign-flip permutation",
    )


def _by_question(rows: Iterable[Sample]) -> dict[str, list[bool]]:
    answers: dict[str, list[bool]] = {}
    for row in rows:
        answers.setdefault(row.id, []).append(row.correct)
    return answers


def _mcnemar(differences: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    counts = Counter(differences.tolist())
    won, lost = counts[1.0], counts[-1.0]
    return float(stats.binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def _sign_flip(differences: "np.ndarray[tuple[int], np.dtype[np.float64]]", seed: int) -> float:
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",  # of a single sample: flips signs
        n_resamples=RESAMPLES,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values adjusted for being several (Holm 1979), under their names."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    ranked = sorted(p_values, key=p_values.__getitem__)
    for rank, name in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted
