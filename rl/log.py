"""The log of a training: log.jsonl in its folder, a row for each step and for each measurement."""

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from reason.errors import UsageError

Key = tuple[int, bool]
"""The step of a row, and whether it is that of a measurement."""


def log(folder: Path, step: int, figures: Mapping[str, Any], warning: str = "") -> None:
    """Add a row to folder/log.jsonl: the step, and what of the figures is a number; null for what
    became none, which JSON cannot say."""
    row: dict[str, Any] = {"step": step}
    for name, value in figures.items():
        if isinstance(value, int | float):
            row[name] = float(value) if isfinite(value) else None
    if warning:
        row["warning"] = warning
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def key_of(line: str) -> Key:
    """Raises ValueError, KeyError or TypeError for what is no row."""
    row = json.loads(line)
    return int(row["step"]), any(name.startswith("heldout/") for name in row)


def cut(folder: Path, step: int) -> None:
    """Leave in the log what led to that step, a row for each; 0 for nothing: steps behind it are
    made again.

    The file is replaced in one move. A last line that was not written to its end is left out;
    raises UsageError for any other that is no row.
    """
    file = folder / "log.jsonl"
    if not file.exists():
        return
    lines = file.read_text().splitlines()
    kept: dict[Key, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            key = key_of(line)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise UsageError(f"{file}, line {number}: no row of a training's log") from error
        kept.pop(key, None)
        if step and key[0] <= step:
            kept[key] = line
    temporary = file.with_name(".log.jsonl.tmp")
    with temporary.open("w") as out:
        out.writelines(f"{line}\n" for line in kept.values())
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
