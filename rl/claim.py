"""Whose a folder is: one training's, which goes on there; where none came to a step, nobody's.

Refused before anything is written: what another command made, and another recipe's training.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from eval.folder import discard, insist, read_json, settle_config
from reason.errors import UsageError
from rl.trl_run import newest

Kind = Literal["sft", "grpo", "trees"]
HOLDS = {
    "sft": "a training by `reason train sft`",
    "grpo": "a training by `reason train grpo`",
    "trees": "a training by `reason train trees`",
    "evaluation": "an evaluation",
    "other": "another run",
}
"""What a folder can hold, by a word for it."""


def check(folder: Path, kind: Kind, described: Mapping[str, Any] | None = None) -> None:
    """Raise UsageError for a folder that this training cannot go on in; nothing is written.

    `described` is all that the weights depend on, where config.json holds it.
    """
    if not folder.is_dir():
        return
    there = held(folder)
    free = there in ("", "sft", "grpo", "trees") and not begun(folder)
    if there not in ("", kind) and not free:
        raise UsageError(
            f"{folder} holds {HOLDS[there]}, which `reason train {kind}` does not go on with: "
            "give another --out"
        )
    if there == "" and not free:
        raise UsageError(f"{folder} holds a training without its config.json: give another --out")
    if described is not None and not free:
        insist(folder / "config.json", described, "training")


def claim(folder: Path, kind: Kind, described: Mapping[str, Any] | None = None) -> None:
    """Make the folder that training's, as `check` allows it; call it where nobody else can."""
    check(folder, kind, described)
    config = folder / "config.json"
    if not begun(folder) and not _same(config, described):
        # What was measured before the first step is of another model, or of other problems.
        for name in ("config.json", "log.jsonl", "curves.png"):
            discard(folder / name)
        shutil.rmtree(folder / "heldout", ignore_errors=True)
    if described is not None:
        settle_config(config, described, begun=False, what="training")


def held(folder: Path) -> str:
    """What the folder holds, as a word of HOLDS; "" for nothing that says what it is."""
    if (folder / "progress.json").exists():
        return "sft"
    config = read_json(folder / "config.json")
    if config is None:
        if (folder / "samples.jsonl").exists():
            return "evaluation"
        return "sft" if any("block" in row for row in _rows(folder)) else ""
    keys = config.keys() if isinstance(config, dict) else set()
    if "grpo" in keys:
        return "grpo"
    if {"sft", "runs"} <= keys:
        return "trees"
    return "evaluation" if "task" in keys or (folder / "samples.jsonl").exists() else "other"


def begun(folder: Path) -> bool:
    """Whether a step was made there: a row of the log tells of one, or a checkpoint."""
    made = ("progress.json", "model")
    if newest(folder) is not None or any((folder / name).exists() for name in made):
        return True
    return any(row.get("step") != 0 for row in _rows(folder))


def _same(config: Path, described: Mapping[str, Any] | None) -> bool:
    """Whether there is nothing yet, or the same."""
    if described is None or not config.exists():
        return not config.exists()
    try:
        insist(config, described)
    except UsageError:
        return False
    return True


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the log; what is no row counts as one that says nothing."""
    try:
        lines = (folder / "log.jsonl").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {folder / 'log.jsonl'}: {error.strerror}") from error
    return [_row(line) for line in lines]


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
