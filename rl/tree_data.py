"""Runs to learn from by imitation: rows of requests, from a file or from an evaluation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.folder import read_json
from eval.folders import Evaluation, read_evaluations
from eval.trees import read_trees
from reason.errors import UsageError
from reason.tree import ThreadTree
from rl.requests import Request, requests_of

Example = dict[str, list[dict[str, list[int]]]]
"""{"requests": [{"context": [ids], "sampled": [ids]}]}, which Arrow keeps as it is."""


def examples(place: Path, role: str = "policy") -> list[Example]:
    """The runs of a file of such rows, or those of an evaluation that came to a right answer.

    Raises UsageError for anything else, for rows that are no requests, and where nothing is left.
    """
    if place.is_dir():
        kept = read_evaluations([place])
        for one in kept:
            _check_role(one, role)
        found = [example for one in kept for example in _of_evaluation(one, role)]
    else:
        found = list(_of_file(place))
    if not found:
        raise UsageError(f"{place} holds no run to learn from: none with a right answer")
    return found


def requests_in(example: Example) -> list[Request]:
    """The requests of a row."""
    return [Request(one["context"], one["sampled"]) for one in example["requests"]]


def _check_role(evaluation: Evaluation, role: str) -> None:
    config = read_json(evaluation.path / "config.json")
    roles = config.get("backends", {}) if isinstance(config, dict) else {}
    if roles and role not in roles:
        raise UsageError(
            f"no model of {evaluation.path} had the role {role!r}: give --role "
            f"{' or '.join(sorted(roles))}"
        )


def _of_evaluation(evaluation: Evaluation, role: str) -> Iterator[Example]:
    if evaluation.trees is None:
        raise UsageError(f"{evaluation.path} kept no thread trees: evaluate with trees=true")
    right = {row.key for row in evaluation.rows if row.correct}
    for kept in read_trees(evaluation.trees):
        if (kept.id, kept.repeat) in right:
            tree = ThreadTree.replay(kept.events)
            requests = [
                {"context": list(r.context), "sampled": list(r.sampled)}
                for r in requests_of(tree, role)
            ]
            if requests:
                yield {"requests": requests}


def _of_file(file: Path) -> Iterator[Example]:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            row: Any = json.loads(line)
            requests = [
                {"context": _ids(one["context"]), "sampled": _ids(one["sampled"])}
                for one in row["requests"]
            ]
            for one in requests:
                Request(one["context"], one["sampled"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{file}, line {number}: expected "
                '{"requests": [{"context": [ids], "sampled": [ids]}, …]}, got '
                f"{line[:60]!r} ({error})"
            ) from error
        if any(one["sampled"] for one in requests):
            yield {"requests": requests}


def _ids(values: Any) -> list[int]:
    if not isinstance(values, list) or any(type(i) is not int or i < 0 for i in values):
        raise ValueError("ids must be a list of integers from 0 on")
    return values
