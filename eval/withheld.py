"""Questions that an evaluation must not ask, since a calibration is made of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibration.store import load
from controllers.atts import AsyncScaling
from controllers.question import question_id
from eval.item import Item
from reason.errors import UsageError
from reason.run import Controller, nested, within


def calibrated_on(file: Path) -> frozenset[str]:
    """Ids of the questions of a calibration. Raises UsageError for any other file."""
    return load(file).sample.known


def identified(questions: frozenset[str]) -> dict[str, str | int]:
    """What an evaluation keeps of them, to go on with the same ones."""
    digest = hashlib.sha256("\n".join(sorted(questions)).encode())
    return {"questions": len(questions), "sha256": digest.hexdigest()}


def without(items: Sequence[Item], questions: frozenset[str], file: Path) -> list[Item]:
    """The items that are not among these questions. Raises UsageError if none is left."""
    left = [item for item in items if question_id(item.prompt) not in questions]
    if not left:
        raise UsageError(
            f"all {len(items)} questions are in the calibration {file}: give a greater limit, or "
            "calibrate on fewer"
        )
    return left


def told(method: Controller, data: str) -> Controller:
    """The method, and those inside it, told what the questions are of."""
    inner = {name: told(each, data) for name, each in within(method).items()}
    method = replace(method, **inner) if inner else method
    return method.asked(data) if isinstance(method, AsyncScaling) else method


def digest(file: Path) -> str:
    """Of what a file holds. Raises UsageError if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error


def digests(method: Controller) -> dict[str, dict[str, str]]:
    """A digest of each calibration that the method uses, by the place of what uses it."""
    return {
        at.rstrip(".") or "root": {"sha256": digest(Path(each.calibration))}
        for at, each in nested(method)
        if isinstance(each, AsyncScaling) and each.calibration
    }


def check_unknown(method: Controller, items: Sequence[Item]) -> None:
    """Raise UsageError if a question is asked that a calibration of the method refuses."""
    for at, each in nested(method):
        if not isinstance(each, AsyncScaling):
            continue
        asked = sum(question_id(item.prompt) in each.refused for item in items)
        if asked:
            raise UsageError(
                f"{asked} of the {len(items)} questions are among the {len(each.refused)} of the "
                f"calibration {each.calibration}, which holds for others only: leave them out with "
                f"without={each.calibration}, or allow it with {at}force=true"
            )
