"""Folders as the sides of a comparison: which evaluations are held against each other."""

from collections.abc import Sequence
from pathlib import Path

from eval.folders import Evaluation, read_evaluations
from reason.errors import UsageError


def side_by_side(places: Sequence[Path]) -> tuple[dict[str, list[Evaluation]], tuple[str, ...]]:
    """The evaluations by task, one of each place, and a remark on tasks that only some hold.

    Where every place holds one evaluation, these belong together, whatever their tasks are called.
    Raises UsageError for fewer than two places, and where it is not clear what is meant.
    """
    if len(places) < 2:
        raise UsageError("which evaluations? for example: reason compare runs/apr runs/single")
    whole = [place.resolve() for place in places]
    evaluations = read_evaluations(places)
    sides: list[dict[str, Evaluation]] = []
    for place, at in zip(places, whole, strict=True):
        side: dict[str, Evaluation] = {}
        for evaluation in evaluations:
            path = evaluation.path.resolve()
            if not path.is_relative_to(at):
                continue
            if sum(path.is_relative_to(other) for other in whole) > 1:
                raise UsageError(
                    f"{evaluation.path} is given twice; a comparison needs different folders"
                )
            if not evaluation.rows:
                raise UsageError(f"{evaluation.path} has no sample yet: run the evaluation first")
            if evaluation.task in side:
                raise UsageError(
                    f"{place} holds several evaluations of {evaluation.task}, "
                    f"{side[evaluation.task].path} and {evaluation.path}: give one of them"
                )
            side[evaluation.task] = evaluation
        sides.append(side)
    if all(len(side) == 1 for side in sides):  # the questions say whether it is the same task
        return {next(iter(sides[0])): [next(iter(side.values())) for side in sides]}, ()
    shared = [task for task in sides[0] if all(task in side for side in sides)]
    if not shared:
        held = "; ".join(
            f"{place} holds {', '.join(side)}" for place, side in zip(places, sides, strict=True)
        )
        raise UsageError(f"no task is in all of the folders: {held}")
    lone = sorted({task for side in sides for task in side} - set(shared))
    remarks = (f"not in all of the folders, and left out: {', '.join(lone)}",) if lone else ()
    return {task: [side[task] for side in sides] for task in shared}, remarks
