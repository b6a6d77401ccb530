"""What the samples of an evaluation add up to. Deterministic, and free of wall-clock figures.

The question is the sampling unit: samples of the same question are not independent, so intervals
are over questions (eval.intervals has the two readings that they have). Nothing is dropped: errors,
time-outs and missing answers count as wrong.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from eval.estimates import AtK, at_each_k, by_question
from eval.groups import groups_of, units
from eval.intervals import like_these
from eval.samples import Sample
from eval.uncertainty import Uncertainty, uncertainty

Figure = Literal["critical_path", "longest_sequence", "total_tokens"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of questions with its 95% interval."""

    value: float
    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is distributed over samples; percentiles are interpolated linearly."""

    mean: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """One evaluation in figures; shares are of all samples, in 0..1."""

    questions: int
    samples: int
    accuracy: Estimate
    """Mean over questions of the share of samples that were correct (avg@k for k repeats), with its
    interval for questions like these."""
    uncertainty: Uncertainty
    """Of the accuracy: what it would be of this very set, and where the variance lies."""
    at_k: dict[str, AtK]
    """"avg@8", "pass@2" and "maj@4", by name: what k of a question's samples are worth."""
    critical_path: Spread
    total_tokens: int
    """Sum over samples."""
    tokens_per_sample: Spread
    longest_sequence: Spread
    threads: Spread
    spawned: float
    """Share that opened threads beyond the root, by spawning or forking."""
    truncated: float
    """Share whose answering thread was cut off by its length or the budget."""
    limited: float
    """Share that hit a limit of the budget anywhere, with or without a result."""
    unanswered: float
    false_claims: float
    """Share that gave an answer, and a wrong one."""
    errors: int
    """Samples in which the model failed; resuming the evaluation tries them again."""
    in_thought: float
    """Share whose answer stands in the thinking only: what was said after it has none."""
    ungraded: int
    """Answers that the grader gave up on, which count as wrong."""
    warnings: dict[str, int]
    """What methods warned of, and in how many samples."""


def measure(samples: Iterable[Sample]) -> Metrics:
    """All figures of at least one sample; the order of the samples does not matter."""
    questions = by_question(samples)
    rows = [row for of in questions.values() for row in of]

    def share(flags: Iterable[bool]) -> float:
        return sum(flags) / len(rows)

    return Metrics(
        questions=len(questions),
        samples=len(rows),
        accuracy=accuracy(rows),
        uncertainty=uncertainty(questions),
        at_k=at_each_k(questions),
        critical_path=spread([row.critical_path for row in rows]),
        total_tokens=sum(row.total_tokens for row in rows),
        tokens_per_sample=spread([row.total_tokens for row in rows]),
        longest_sequence=spread([row.longest_sequence for row in rows]),
        threads=spread([row.threads for row in rows]),
        spawned=share(row.threads > 1 for row in rows),
        truncated=share(row.finish in ("length", "budget") for row in rows),
        limited=share(row.limit is not None for row in rows),
        unanswered=share(row.answer is None for row in rows),
        false_claims=share(row.answer is not None and not row.correct for row in rows),
        errors=sum(row.failed for row in rows),
        in_thought=share(row.in_thought for row in rows),
        ungraded=sum(row.ungraded is not None for row in rows),
        warnings=dict(sorted(Counter(said for row in rows for said in row.warnings).items())),
    )


def accuracy(rows: Sequence[Sample]) -> Estimate:
    """The mean over questions with its 95% interval for questions like these (Wilson's, at the
    effective number of samples: see eval.intervals.like_these).

    Questions of one group, which are variants of each other, count as one unit. A single unit with
    several samples tells nothing of others: 0 to 1.
    """
    answers: dict[str, list[bool]] = {}
    for row in rows:
        answers.setdefault(row.id, []).append(row.correct)
    means = [sum(given) / len(given) for given in answers.values()]
    unit_of = units(groups_of(rows))
    groups, value = len(set(unit_of)) if unit_of else len(means), fmean(means)
    if groups == 1 < len(rows):
        unit = "question" if len(means) == 1 else "group"
        return Estimate(value, 0.0, 1.0, f"none for a single {unit}")
    low, high = like_these(means, [len(given) for given in answers.values()], unit_of)
    if unit_of:
        return Estimate(value, low, high, f"Wilson, clustered in {groups} groups")
    single = len(rows) == len(means)
    method = "Wilson over questions" if single else "Wilson, clustered by question"
    return Estimate(value, low, high, method)


def spread(values: Sequence[float]) -> Spread:
    """Mean, median and 95th percentile of at least one value."""
    median, p95 = np.percentile(values, (50, 95))
    return Spread(fmean(values), float(median), float(p95))


def accuracy_within(
    rows: Sequence[Sample], figure: Figure, budgets: Iterable[float]
) -> list[float]:
    """For each budget, the share of samples that were correct and spent no more than it.

    What the same runs would have scored had they been cut off there.
    """
    spent = [getattr(row, figure) for row in rows if row.correct]
    return [sum(cost <= budget for cost in spent) / len(rows) for budget in budgets]
