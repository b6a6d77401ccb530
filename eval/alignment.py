"""Evaluations side by side hold the same questions, or figures of one say nothing of another."""

from collections.abc import Sequence
from dataclasses import replace

from eval.folders import Evaluation
from reason.errors import UsageError


def aligned(evaluations: Sequence[Evaluation], common: bool = False) -> list[Evaluation]:
    """All of them, each task's checked for the same questions; with `common`, cut down to those.

    One that is unfinished may lack some. Raises UsageError that names two that differ, and what
    can be done.
    """
    found = []
    for evaluation in evaluations:
        others = [e for e in evaluations if e.task == evaluation.task and e.rows]
        if common:
            evaluation = _cut(evaluation, others)
        elif evaluation.rows:
            _check(evaluation, others)
        found.append(evaluation)
    return found


def _asked(evaluation: Evaluation) -> frozenset[str]:
    return frozenset(row.id for row in evaluation.rows)


def _shared(evaluations: Sequence[Evaluation]) -> frozenset[str]:
    return frozenset.intersection(*map(_asked, evaluations))


def _check(evaluation: Evaluation, others: Sequence[Evaluation]) -> None:
    own = _asked(evaluation)
    for other in others:
        theirs = _asked(other)
        extra = own - theirs
        if other.finished and extra:
            both = len(_shared(others))
            advice = (
                f"common=true reports on the {both:,} that all hold"
                if both
                else "no question is in all of them, so report on them one at a time"
            )
            raise UsageError(
                f"{evaluation.path} and {other.path} do not hold the same questions: "
                f"{len(extra):,} of {len(own):,} are only in the first, such as {min(extra)!r}, "
                f"and {len(theirs - own):,} of {len(theirs):,} only in the second; {advice}"
            )


def _cut(evaluation: Evaluation, others: Sequence[Evaluation]) -> Evaluation:
    if not evaluation.rows:
        return evaluation
    shared = _shared(others)
    if not shared:
        places = ", ".join(str(e.path) for e in others)
        raise UsageError(f"no question of {evaluation.task} is in all of: {places}")
    rows = [row for row in evaluation.rows if row.id in shared]
    return replace(evaluation, rows=rows, left_out=len(evaluation.rows) - len(rows))
