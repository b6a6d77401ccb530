"""What several samples of a question tell: pass@k, maj@k, avg@k, and where the variance lies.

All are expectations over the choice of k of a question's n samples, averaged over questions; never
the outcome of the first k. Their intervals are for questions like these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod, sqrt
from statistics import fmean, variance

from eval.groups import groups_of, units
from eval.intervals import Groups, bounded, standard_error
from eval.samples import Sample
from eval.votes import Expectation, check_k, maj_at_k, votes_of
from reason.errors import UsageError


@dataclass(frozen=True, slots=True)
class AtK:
    """A figure at k samples, averaged over questions."""

    value: float
    low: float
    high: float
    """95%, for questions like these (eval.intervals.bounded)."""
    standard_error: float | None
    """sd(questions) / sqrt(Q), or that of groups of variants; None for a single one."""
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
    check_k(k, n)
    if not 0 <= c <= n:
        raise UsageError(f"of {n} samples 0 to {n} can be right, got {c}")
    return 1.0 if n - c < k else 1.0 - prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def avg_at_k(n: int, c: int) -> float:
    """Share that is right of all n samples, c of them right: pass@1 from n samples, avg@n."""
    return pass_at_k(n, c, 1)


def pass_at(questions: Mapping[str, Sequence[Sample]], k: int) -> AtK:
    """pass@k over questions; k = 1 is avg@n. Raises UsageError naming a question that is short."""
    found = [Expectation(value) for value in pass_values(questions, k).values()]
    return _over_questions(found, _units(questions))


def pass_values(questions: Mapping[str, Sequence[Sample]], k: int) -> dict[str, float]:
    """pass@k by question. Raises UsageError naming a question that is short of samples."""
    _enough(questions, k)
    return {
        name: pass_at_k(len(rows), sum(row.correct for row in rows), k)
        for name, rows in questions.items()
    }


def maj_at(questions: Mapping[str, Sequence[Sample]], k: int, seed: int = 0) -> AtK:
    """maj@k over questions. Raises UsageError naming a question that is short of samples."""
    _enough(questions, k)
    found = [maj_at_k(votes_of(q), k, seed) for q in questions.values()]
    return _over_questions(found, _units(questions))


def maj_values(
    questions: Mapping[str, Sequence[Sample]], k: int, seed: int = 0
) -> dict[str, float]:
    """maj@k by question. Raises UsageError naming a question that is short of samples."""
    _enough(questions, k)
    return {name: maj_at_k(votes_of(rows), k, seed).value for name, rows in questions.items()}


def at_each_k(questions: Mapping[str, Sequence[Sample]]) -> dict[str, AtK]:
    """By name: avg@n, and pass@k and maj@k for the powers of two up to n, and n.

    n is what every question has of samples, or the fewest; avg@n only where all have as many, and
    the others where there are several.
    """
    sizes = {len(rows) for rows in questions.values()}
    n = min(sizes)
    found = {f"avg@{n}": pass_at(questions, 1)} if len(sizes) == 1 else {}
    several = sorted({2**power for power in range(1, n.bit_length())} | {n} - {1})
    found |= {f"pass@{k}": pass_at(questions, k) for k in several}
    votes = [votes_of(rows) for rows in questions.values()] if several else []
    groups = _units(questions)
    return found | {
        f"maj@{k}": _over_questions([maj_at_k(of, k) for of in votes], groups) for k in several
    }


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


def _enough(questions: Mapping[str, Sequence[Sample]], k: int) -> None:
    if not questions:
        raise UsageError("there is no question to estimate from")
    fewest = min(questions, key=lambda name: len(questions[name]))
    if not 1 <= k <= len(questions[fewest]):
        raise UsageError(
            f"k must be 1 to {len(questions[fewest])}, the samples of question {fewest!r}, got {k}"
        )


def _units(questions: Mapping[str, Sequence[Sample]]) -> list[int] | None:
    return units(groups_of(chain.from_iterable(questions.values())))


def _over_questions(found: Sequence[Expectation], groups: Groups) -> AtK:
    values = [one.value for one in found]
    low, high = bounded(values, groups)
    size = len(values)
    drawn = len(set(groups)) if groups else size
    return AtK(
        fmean(values),
        low,
        high,
        standard_error(values, groups) if drawn > 1 else None,
        sqrt(sum(one.error**2 for one in found)) / size,
    )
