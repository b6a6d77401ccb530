"""`reason power TASK`: evaluations that are not run yet, and what is assumed of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean

import numpy as np

from eval.comparison import same_questions
from eval.estimates import by_question, components
from eval.folders import Evaluation, read_evaluations
from eval.power import Design, check_difference, check_repeats
from eval.questions import Dataset
from eval.tasks import DRAWN, Asked, parse_tasks, task_of
from reason.errors import UsageError
from reason.keys import Power


@dataclass(frozen=True, slots=True)
class Plan:
    """Two evaluations of a task that are to be compared."""

    task: str
    repeats: int
    design: Design
    difference: float | None = None
    """The one that is hoped for, if any was named."""
    like: tuple[Path, ...] = ()
    """Where the design was taken from; what is left was assumed."""

    def __post_init__(self) -> None:
        check_repeats(self.repeats)
        if self.difference is not None:
            check_difference(self.design, self.difference)


def planned(asked: Power) -> list[Plan]:
    """One for each task that was asked for. Raises UsageError for what cannot be."""
    if not asked.task:
        raise UsageError("which task? for example: reason power aime24 --repeats 16")
    return [
        Plan(
            task.title,
            task.repeats if asked.repeats is None else asked.repeats,
            design_of(
                questions_of(task, asked.limit),
                asked.like,
                asked.accuracy,
                asked.icc,
                asked.correlation,
            ),
            asked.difference,
            asked.like,
        )
        for task in parse_tasks(asked.task)
    ]


def questions_of(task: Asked, limit: int | None) -> int:
    """How many questions are asked. Raises UsageError for more than there are."""
    found = task_of(task.name)
    there = None
    if isinstance(found, Dataset):
        there = found.rows if found.rows is not None else len(found.questions())
    if limit is None:
        return DRAWN if there is None else there
    if limit < 2 or (there is not None and limit > there):
        most = f" to {there}, all that {task.title} has" if there is not None else " or more"
        raise UsageError(f"limit must be 2{most}, got {limit}")
    return limit


def design_of(
    questions: int,
    places: Sequence[Path],
    accuracy: float | None,
    icc: float | None,
    correlation: float | None,
) -> Design:
    """What is given, else what one or two finished evaluations tell, else the defaults.

    Of two evaluations of the same questions, the accuracy is that of the first. Raises UsageError
    for folders that do not tell, and for shares that are none.
    """
    given = {"accuracy": accuracy, "icc": icc, "correlation": correlation}
    known = {name: value for name, value in given.items() if value is not None}
    if places:
        known = {**_estimated(places, set(known)), **known}
    try:
        return Design(questions, **known)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _estimated(places: Sequence[Path], given: set[str]) -> dict[str, float]:
    """What evaluations tell, of what was not given."""
    evaluations = read_evaluations(places)
    if len(evaluations) > 2 or len(evaluations) < len(places):
        raise UsageError(
            "like takes one evaluation, or two of the same questions; "
            f"got {len(evaluations)}: {', '.join(str(e.path) for e in evaluations)}"
        )
    found: dict[str, float] = {}
    sides = [_rates(evaluation) for evaluation in evaluations]
    first = evaluations[0]
    if "accuracy" not in given:
        found["accuracy"] = fmean(x for x, _ in sides[0].values())
        if not 0 < found["accuracy"] < 1:
            all_or_none = "all" if found["accuracy"] else "none"
            raise UsageError(
                f"{first.path}: {all_or_none} of the samples are right, which tells nothing of "
                "what varies; give accuracy=SHARE"
            )
    parts = [components(*zip(*of.values(), strict=True)) for of in sides]
    for evaluation, part in zip(evaluations, parts, strict=True):
        if part is None and "icc" not in given:
            raise UsageError(
                f"{evaluation.path} does not tell what varies between questions from what varies "
                "within: that takes two questions or more with two samples each or more; "
                "evaluate TASK:REPEATS, or give icc=SHARE"
            )
    if "icc" not in given:
        found["icc"] = fmean(part.icc for part in parts if part)
    if len(sides) == 2 and "correlation" not in given:
        same_questions(sides[0], sides[1], str(first.path), str(evaluations[1].path))
        x, y = (np.array([of[name][0] for name in sorted(of)]) for of in sides)
        spread = sqrt((parts[0].between if parts[0] else 0) * (parts[1].between if parts[1] else 0))
        if spread:  # samples are independent: their noise adds nothing to the covariance
            found["correlation"] = min(max(float(np.cov(x, y)[0, 1]) / spread, 0.0), 1.0)
    return found


def _rates(evaluation: Evaluation) -> dict[str, tuple[float, int]]:
    """Share of right samples, and how many there are, by question."""
    if not evaluation.rows:
        raise UsageError(f"{evaluation.path} has no sample yet: run the evaluation first")
    questions = by_question(evaluation.rows)
    return {name: (fmean(r.correct for r in rows), len(rows)) for name, rows in questions.items()}
