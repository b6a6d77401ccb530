"""Evaluations in figures, side by side: how often right, at what cost, and which are worth it.

Means are over questions, as eval.intervals has them; those of costs with Student's t.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from eval.folders import Evaluation
from eval.groups import counted, groups_of, units
from eval.intervals import Groups, student, this_set
from eval.metrics import Metrics, measure
from eval.prices import Prices, money
from eval.samples import Sample
from eval.trees import read_trees
from reason.watch import clean

Cost = Literal["critical_path", "total_tokens", "seconds"]
COSTS: dict[Cost, str] = {
    "critical_path": "critical path",
    "total_tokens": "total tokens",
    "seconds": "wall clock",
}
"""What accuracy is held against, each the mean of a run, and what it is called."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers with its 95% interval for questions like these."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over questions with its 95% interval; none for a single question."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of all runs together."""

    prompt: int
    cached: int
    """Of the prompt's, what a prefix cache answered."""
    sampled: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One evaluation with at least one sample."""

    evaluation: Evaluation
    metrics: Metrics
    accuracy: Share
    this_set: tuple[float, float] | None
    """The 95% interval for these very questions, where each has several samples."""
    costs: dict[Cost, Mean]
    """Without seconds where they are not known."""
    tokens: Tokens
    money: float | None
    """Of all runs together; None without prices, or where samples do not tell the models apart."""
    at_once: float | None
    """How many runs were under way at the same time, on average: the load of the wall clock."""

    @property
    def label(self) -> str:
        return self.evaluation.label


@dataclass(frozen=True, slots=True)
class Group:
    """The evaluations of one task."""

    task: str
    summaries: list[Summary]
    empty: list[Evaluation]
    """Those without a sample so far."""
    fronts: dict[Cost, list[str]]
    """Labels on the Pareto front of a cost, from the cheapest on."""
    priced: bool = False
    """Whether there was a price table."""

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of before comparing."""
        found = [f"{e.label} has no sample yet" for e in self.empty]
        for summary in self.summaries:
            evaluation, done = summary.evaluation, len(summary.evaluation.rows)
            if not evaluation.finished:
                of = f" of {evaluation.expected:,}" if evaluation.expected else ""
                found.append(f"{summary.label} is unfinished: {done:,}{of} samples")
            if summary.metrics.errors:
                count = summary.metrics.errors
                found.append(f"{summary.label}: the model failed in {count:,} samples, which count")
            for warning, count in summary.metrics.warnings.items():
                found.append(f"{summary.label}, {count:,} samples: {clean(warning)}")
            lost = sum(evaluation.seconds(row) is None for row in evaluation.rows)
            if lost:
                found.append(f"{summary.label}: the seconds of {lost:,} samples are not known")
            if self.priced and summary.money is None:
                found.append(
                    f"{summary.label}: no cost in money, as its models have different prices and "
                    "only thread trees tell their tokens apart"
                )
            if evaluation.left_out:
                count = evaluation.left_out
                found.append(
                    f"{summary.label}: {count:,} samples are left out, of problems that others "
                    "were not asked"
                )
        known = dict.fromkeys(counted(groups_of(s.evaluation.rows)) for s in self.summaries)
        found += [f"variants of one problem count as one: {one}" for one in known if one]
        return found


def summarise(evaluations: Sequence[Evaluation], prices: Prices | None = None) -> list[Group]:
    """All evaluations by task. Raises UsageError for a model that the price table lacks."""
    groups = []
    for task in dict.fromkeys(e.task for e in evaluations):
        of_task = [e for e in evaluations if e.task == task]
        found = [_summary(e, prices) for e in of_task if e.rows]
        fronts = {cost: _front(found, cost) for cost in COSTS}
        empty = [e for e in of_task if not e.rows]
        groups.append(Group(task, found, empty, fronts, prices is not None))
    return groups


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of these (cost, worth) no other beats, from the cheapest on.

    One beats another if it costs no more and is worth no less, and is better in one of the two.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        best = points[front[-1]] if front else None
        if best is None or points[index][1] > best[1] or points[index] == best:
            front.append(index)
    return front


def by_question(rows: Sequence[Sample], values: Sequence[float]) -> list[list[float]]:
    """The values of the rows, one list for each question."""
    found: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        found.setdefault(row.id, []).append(value)
    return list(found.values())


def mean(questions: Sequence[Sequence[float]], groups: Groups = None) -> Mean:
    """Over question means, of questions that may be variants of one problem."""
    means = [fmean(values) for values in questions]
    drawn = len(set(groups)) if groups else len(means)
    low, high = student(means, groups) if drawn > 1 else (None, None)
    return Mean(fmean(means), None if low is None else max(low, 0.0), high)


def _over(rows: Sequence[Sample], values: Sequence[float]) -> Mean:
    return mean(by_question(rows, values), units(groups_of(rows)))


def _summary(evaluation: Evaluation, prices: Prices | None) -> Summary:
    rows = evaluation.rows
    metrics = measure(rows)
    right = by_question(rows, [float(row.correct) for row in rows])
    shares, sizes = [fmean(given) for given in right], [len(given) for given in right]
    timed = [(row, s) for row in rows if (s := evaluation.seconds(row)) is not None]
    costs: dict[Cost, Mean] = {
        "critical_path": _over(rows, [row.critical_path for row in rows]),
        "total_tokens": _over(rows, [row.total_tokens for row in rows]),
    }
    elapsed = evaluation.timing.get("seconds", 0.0)
    if timed:
        costs["seconds"] = _over([row for row, _ in timed], [s for _, s in timed])
    return Summary(
        evaluation,
        metrics,
        Share(metrics.accuracy.value, metrics.accuracy.low, metrics.accuracy.high),
        this_set(shares, sizes),
        costs,
        Tokens(
            sum(row.prompt_tokens for row in rows),
            sum(row.cached_tokens for row in rows),
            sum(row.total_tokens for row in rows),
        ),
        _money(evaluation, prices) if prices else None,
        sum(s for _, s in timed) / elapsed if timed and elapsed else None,
    )


def _money(evaluation: Evaluation, prices: Prices) -> float | None:
    trees = read_trees(evaluation.trees) if evaluation.trees else ()
    return money(evaluation.rows, evaluation.models, prices, trees)


def _front(summaries: Sequence[Summary], cost: Cost) -> list[str]:
    known = [s for s in summaries if cost in s.costs]
    points = [(s.costs[cost].value, s.accuracy.value) for s in known]
    return [known[index].label for index in pareto(points)]


def as_json(group: Group) -> dict[str, object]:
    """The figures of a task for machines."""
    return {
        "task": group.task,
        "evaluations": [_record(summary) for summary in group.summaries],
        "empty": [str(e.path) for e in group.empty],
        "pareto": group.fronts,
        "remarks": group.remarks,
    }


def _record(summary: Summary) -> Mapping[str, object]:
    evaluation, metrics = summary.evaluation, summary.metrics
    runs = len(evaluation.rows)
    right = sum(row.correct for row in evaluation.rows)
    return {
        "label": summary.label,
        "method": evaluation.method,
        "models": evaluation.models,
        "folder": str(evaluation.path),
        "finished": evaluation.finished,
        "samples": runs,
        "expected": evaluation.expected,
        "questions": metrics.questions,
        "accuracy": summary.accuracy,
        "this_set": summary.this_set,
        **{cost: summary.costs.get(cost) for cost in COSTS},
        "longest_sequence": metrics.longest_sequence.mean,
        "threads": metrics.threads.mean,
        "tokens": summary.tokens,
        "wall_clock": evaluation.timing.get("seconds"),
        "at_once": summary.at_once,
        "money": None
        if summary.money is None
        else {
            "total": summary.money,
            "per_run": summary.money / runs,
            "per_right_answer": summary.money / right if right else None,
        },
        "shares": {name: getattr(metrics, name) for name in SHARES},
        "errors": metrics.errors,
    }


SHARES = {
    "spawned": "spawned",
    "false_claims": "wrong answer",
    "unanswered": "no answer",
    "truncated": "truncated",
    "limited": "hit the budget",
}
"""Of all samples, and what they are called."""
