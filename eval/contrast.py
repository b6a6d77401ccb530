"""Evaluations held against the first of them on the same questions, with and without a budget.

p-values are adjusted for being several (Holm): those without a budget over the evaluations, those
within budgets over evaluations and budgets, each reading for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import floor, inf, isfinite, log10
from pathlib import Path
from statistics import fmean

import numpy as np

from eval.comparison import (
    Difference,
    difference_at_k,
    holm,
    paired_difference,
    same_questions,
)
from eval.estimates import by_question
from eval.folders import Evaluation
from eval.groups import counted, groups_of
from eval.metrics import Figure
from eval.score import AVG, Score
from eval.sides import side_by_side
from reason.errors import UsageError

BUDGETED: dict[Figure, str] = {"critical_path": "critical path", "total_tokens": "total tokens"}
"""What a budget can be on, and what it is called."""
SHARES = (0.25, 0.5, 0.75, 0.95)
"""Of the runs of all evaluations, how many stay within the budgets that are chosen."""
Budgets = Mapping[Figure, tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Within:
    """What two evaluations come to if all that costs more than a budget is wrong."""

    figure: Figure | None
    """What the budget is on; None without one."""
    budget: float
    first: float
    other: float
    """The score of either, means over questions."""
    difference: Difference
    holm: float = 1.0
    """The p-value for questions like these, adjusted."""
    holm_this_set: float = 1.0
    """That for this set, where there is one."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One evaluation against another, both of at least two questions."""

    task: str
    first: Evaluation
    other: Evaluation
    score: Score
    samples: tuple[str, str]
    """Of each question, on either side: "16", or "14-16" where it differs."""
    rows: tuple[Within, ...]
    several: int
    """Tests that the p-values within budgets are adjusted for, in one reading."""
    remarks: tuple[str, ...]


def contrasts(
    places: Sequence[Path], budgets: Budgets, seed: int = 0, score: Score = AVG
) -> list[Contrast]:
    """The first folder against each of the others, task by task.

    `budgets` are on each figure, None to choose some (`chosen`). Raises UsageError where there is
    nothing to compare: fewer than two folders, no samples, other questions.
    """
    check(budgets)
    tasks, left_out = side_by_side(places)
    return [
        one
        for task, sides in tasks.items()
        for one in _of_task(task, sides, budgets, seed, score, left_out)
    ]


def check(budgets: Budgets) -> None:
    """Raise UsageError for a budget that is none."""
    for figure, given in budgets.items():
        for budget in given or ():
            if not (isfinite(budget) and budget > 0):
                raise UsageError(
                    f"{figure} must be numbers of tokens above 0, such as 1k,4k; got {budget:g}"
                )


def chosen(costs: Sequence[float]) -> tuple[float, ...]:
    """Budgets that a quarter, half, three quarters and 95% of the runs stay within, to two digits;
    none where all cost about the same."""
    most = max(costs)
    rounded = {_two_digits(float(q)) for q in np.quantile(costs, SHARES, method="lower")}
    return tuple(sorted(budget for budget in rounded if max(min(costs), 1) <= budget < most))


def _two_digits(value: float) -> float:
    return float(round(value, 1 - floor(log10(value)))) if value > 0 else 0.0


def _of_task(
    task: str,
    sides: Sequence[Evaluation],
    budgets: Budgets,
    seed: int,
    score: Score,
    left_out: tuple[str, ...],
) -> list[Contrast]:
    first, *others = sides
    for other in others:
        same_questions(_ids(first), _ids(other), _name(first), _name(other))
    grid: list[tuple[Figure | None, float]] = [(None, inf)]
    for figure in BUDGETED:
        given = budgets.get(figure)
        if given is None:
            given = chosen([getattr(row, figure) for side in sides for row in side.rows])
        grid += [(figure, budget) for budget in sorted(set(given))]
    rows = [[_within(first, other, *at, seed, score) for at in grid] for other in others]
    adjusted = _adjusted(rows)
    return [
        Contrast(
            task,
            first,
            other,
            score,
            (_samples(first), _samples(other)),
            of,
            len(others) * (len(grid) - 1),
            (*_remarks(first, other, score), *left_out),
        )
        for other, of in zip(others, adjusted, strict=True)
    ]


def _within(
    first: Evaluation,
    other: Evaluation,
    figure: Figure | None,
    budget: float,
    seed: int,
    score: Score,
) -> Within:
    on = figure or "total_tokens"
    if score != AVG:
        found, x, y = difference_at_k(first.rows, other.rows, score, seed, figure=on, budget=budget)
        return Within(figure, budget, x, y, found)
    return Within(
        figure,
        budget,
        _share(first, on, budget),
        _share(other, on, budget),
        paired_difference(first.rows, other.rows, seed, figure=on, budget=budget),
    )


def _share(evaluation: Evaluation, figure: Figure, budget: float) -> float:
    questions = by_question(evaluation.rows).values()
    return fmean(
        fmean(row.correct and getattr(row, figure) <= budget for row in of) for of in questions
    )


def _adjusted(rows: Sequence[Sequence[Within]]) -> list[tuple[Within, ...]]:
    """With Holm's correction: of those without a budget together, and of those with one."""
    like: dict[str, float] = {}
    this: dict[str, float] = {}
    for budgeted in (False, True):
        family = {
            f"{i}/{j}": row.difference
            for i, of in enumerate(rows)
            for j, row in enumerate(of)
            if (row.figure is not None) == budgeted
        }
        like |= holm({name: d.p_value for name, d in family.items()})
        this |= holm({name: d.this_set.p_value for name, d in family.items() if d.this_set})
    return [
        tuple(
            replace(row, holm=like[f"{i}/{j}"], holm_this_set=this.get(f"{i}/{j}", 1.0))
            for j, row in enumerate(of)
        )
        for i, of in enumerate(rows)
    ]


def _ids(evaluation: Evaluation) -> set[str]:
    return {row.id for row in evaluation.rows}


def _name(evaluation: Evaluation) -> str:
    """The folder; of one that is under way, that it is."""
    return str(evaluation.path) if evaluation.finished else f"{evaluation.path} (unfinished)"


def _samples(evaluation: Evaluation) -> str:
    sizes = {len(of) for of in by_question(evaluation.rows).values()}
    return str(min(sizes)) if len(sizes) == 1 else f"{min(sizes)}-{max(sizes)}"


def _remarks(first: Evaluation, other: Evaluation, score: Score) -> list[str]:
    """What a reader must know of before believing it."""
    found = []
    for side in (first, other):
        if not side.finished:
            of = f" of {side.expected:,}" if side.expected else ""
            found.append(f"{side.label} is unfinished: {len(side.rows):,}{of} samples")
        if failed := sum(row.failed for row in side.rows):
            found.append(f"{side.label}: the model failed in {failed:,} samples, which count")
    sizes = [len(of) for side in (first, other) for of in by_question(side.rows).values()]
    if score == AVG and min(sizes) < 2:
        found.append(
            "an interval for this set needs two samples of every question or more: "
            "evaluate TASK:REPEATS"
        )
    if known := counted(groups_of(chain(first.rows, other.rows))):
        found.append(f"variants of one problem count as one for questions like these: {known}")
    return found
