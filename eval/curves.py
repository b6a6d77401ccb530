"""Accuracy within a budget: what the same runs would have scored had they been cut off there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.groups import groups_of, units
from eval.intervals import like_these
from eval.samples import Sample
from eval.summary import Cost, Summary

POINTS = 120
"""Budgets at which curves are drawn, where there are more different costs."""


@dataclass(frozen=True, slots=True)
class Curve:
    """For each budget the share of right answers that cost no more, with its 95% interval."""

    label: str
    values: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True, slots=True)
class Curves:
    """All methods at the same budgets."""

    budgets: list[float]
    curves: list[Curve]


def curves(summaries: Sequence[Summary], cost: Cost) -> Curves:
    """Of the evaluations in which that cost is known of every sample."""
    spent = [(s, found) for s in summaries if (found := _spent(s, cost)) is not None]
    budgets = _budgets(sorted({value for _, values in spent for value in values}))
    return Curves(
        budgets, [curve(s.label, s.evaluation.rows, found, budgets) for s, found in spent]
    )


def curve(
    label: str, rows: Sequence[Sample], spent: Sequence[float], budgets: Sequence[float]
) -> Curve:
    """One method; `spent` is the cost of each row."""
    ids, question = np.unique([row.id for row in rows], return_inverse=True)
    samples = np.bincount(question, minlength=len(ids)).astype(float)
    right = np.array([row.correct for row in rows])
    costs = np.asarray(spent, float)
    groups = groups_of(rows)
    unit_of = units({name: groups[name] for name in ids.tolist()})
    found = Curve(label, [], [], [])
    for budget in budgets:
        within = np.bincount(question, right & (costs <= budget), minlength=len(ids)) / samples
        low, high = like_these(within, samples, unit_of)
        found.values.append(float(within.mean()))
        found.low.append(low)
        found.high.append(high)
    return found


def _spent(summary: Summary, cost: Cost) -> list[float] | None:
    rows = summary.evaluation.rows
    if cost != "seconds":
        return [float(getattr(row, cost)) for row in rows]
    seconds = [summary.evaluation.seconds(row) for row in rows]
    known = [value for value in seconds if value is not None]
    return known if len(known) == len(rows) else None


def _budgets(costs: Sequence[float]) -> list[float]:
    """All different costs; of too many, some at equal ratios, the least and the most among them."""
    if len(costs) <= POINTS:
        return list(costs)
    low, high = max(costs[0], 1e-6), costs[-1]
    return [costs[0], *np.geomspace(low, high, POINTS)[1:-1].tolist(), high]
