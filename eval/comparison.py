"""Two methods on the same questions, compared by pairs, in both readings (see eval.intervals)."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import inf

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from eval.estimates import by_question, maj_values, pass_values
from eval.groups import groups_of, units
from eval.intervals import mover, paired, paired_bounded, this_set, units_of
from eval.metrics import Figure
from eval.permutation import flipped, holm, mcnemar, relabelled, sign_flip
from eval.samples import Sample
from eval.score import Score
from reason.errors import UsageError

__all__ = ["Difference", "Reading", "holm", "paired_difference"]
SIGNS = "sign-flip permutation"
NAMED = 3
"""Questions of each side that an error names."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the difference tells of this very set of questions."""

    low: float | None
    high: float | None
    """95%, from an interval of each side; None where a question has but one sample."""
    p_value: float
    """Two-sided, of equal solve rates at every question."""
    test: str


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more often the first is right than the second, on average over questions."""

    questions: int
    mean: float
    low: float
    high: float
    """95%, for questions like these."""
    p_value: float
    """Two-sided, of no difference among questions like these."""
    test: str
    this_set: Reading | None
    """None for a figure at k samples, which no relabelling of samples leaves as it is."""
    groups: int | None = None
    """How many units the questions are, for questions like these; None where each is its own."""


def difference_at_k(
    first: Iterable[Sample],
    second: Iterable[Sample],
    score: Score,
    seed: int = 0,
    *,
    figure: Figure = "total_tokens",
    budget: float = inf,
) -> tuple[Difference, float, float]:
    """The mean difference by question of pass@k or maj@k, and the mean of either side.

    Within a budget, what cost more is wrong, and has no vote. The interval is that of
    eval.intervals.paired with `bounded` on either side, the test one of sign flips. Raises
    UsageError for other questions, fewer than two, and k greater than the samples of one.
    """
    first, second = list(first), list(second)
    a, b = (by_question(_within(row, figure, budget) for row in rows) for rows in (first, second))
    same_questions(a, b, "the first", "the second")
    if len(a) < 2:
        raise UsageError(f"a paired comparison needs at least two questions, got {len(a)}")
    value_of = pass_values if score.name == "pass" else maj_values
    one, two = value_of(a, score.k), value_of(b, score.k)
    x, y = (np.array([of[name] for name in sorted(of)]) for of in (one, two))
    groups = _units(first, second)
    low, high = paired_bounded(x, y, groups)
    sums = np.bincount(units_of(groups, len(x))[0], x - y)
    p = flipped(np.asarray(sums, float), seed)
    mean, test = float((x - y).mean()), f"{SIGNS} of groups" if groups else SIGNS
    found = Difference(len(x), mean, low, high, p, test, None, _count(groups))
    return found, float(x.mean()), float(y.mean())


def _units(first: Iterable[Sample], second: Iterable[Sample]) -> list[int] | None:
    """The units of the questions in order of their names, as either side knows them."""
    known = groups_of(chain(first, second))
    return units({name: known[name] for name in sorted(known)})


def _count(groups: list[int] | None) -> int | None:
    return len(set(groups)) if groups else None


def _within(row: Sample, figure: Figure, budget: float) -> Sample:
    if getattr(row, figure) <= budget:
        return row
    return replace(row, correct=False, answer=None)


def paired_difference(
    first: Iterable[Sample],
    second: Iterable[Sample],
    seed: int = 0,
    *,
    figure: Figure = "total_tokens",
    budget: float = inf,
) -> Difference:
    """The mean difference by question, with its intervals and p-values.

    With a budget, a sample that spent more of the figure counts as wrong: what the same runs would
    have scored had they been cut off there. Where every question has one sample on either side,
    McNemar's exact test; else sign flips of the questions' differences, and for this set the
    labels of the samples within each question. Where questions are variants of one problem, what
    is said of questions like these takes a group for one: its differences are flipped together.
    Raises UsageError if the questions are not the same, or fewer than two.
    """
    first, second = list(first), list(second)
    a, b = _tally(first, figure, budget), _tally(second, figure, budget)
    same_questions(a, b, "the first", "the second")
    if len(a) < 2:
        raise UsageError(f"a paired comparison needs at least two questions, got {len(a)}")
    names = sorted(a)
    (right, n), (other, m) = (_columns([side[name] for name in names]) for side in (a, b))
    x, y = right / n, other / m
    groups = _units(first, second)
    low, high = paired(x, n, y, m, groups)
    if (n == 1).all() and (m == 1).all():
        p_value = p_set = mcnemar(int((right > other).sum()), int((right < other).sum()))
        test = test_set = "McNemar exact"
    else:
        p_value, test = sign_flip(right, n, other, m, seed), SIGNS
        p_set, test_set = relabelled(right, n, other, m), "permutation within questions"
    if groups:
        p_value, test = sign_flip(right, n, other, m, seed, groups), f"{SIGNS} of groups"
    one, two = this_set(x, n), this_set(y, m)
    low_set, high_set = None, None
    if one and two:
        low_set, high_set = mover(float(x.mean()), one, float(y.mean()), two)
    return Difference(
        questions=len(names),
        mean=float((x - y).mean()),
        low=low,
        high=high,
        p_value=p_value,
        test=test,
        this_set=Reading(low_set, high_set, p_set, test_set),
        groups=_count(groups),
    )


def same_questions(first: Iterable[str], second: Iterable[str], one: str, other: str) -> None:
    """Raise UsageError, naming a few of each side, unless both hold the same questions."""
    a, b = set(first), set(second)
    if a == b:
        return
    only = [
        f"only {name} holds {', '.join(map(repr, lone[:NAMED]))}"
        + (f" and {len(lone) - NAMED:,} more" if len(lone) > NAMED else "")
        for name, lone in ((one, sorted(a - b)), (other, sorted(b - a)))
        if lone
    ]
    raise UsageError(
        "a paired comparison needs the same questions on both sides, and "
        f"{len(a & b):,} are shared: {'; '.join(only)}"
    )


def _tally(rows: Iterable[Sample], figure: Figure, budget: float) -> dict[str, tuple[int, int]]:
    """How many samples of each question are right, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        right, n = found.get(row.id, (0, 0))
        inside = row.correct and getattr(row, figure) <= budget
        found[row.id] = right + inside, n + 1
    return found


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]
