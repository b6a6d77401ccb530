"""`reason calibrate --audit DIR`: did the decisions of an evaluation keep what was promised?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from calibration.audit import Decision, audit
from calibration.plots import draw
from calibration.store import load
from calibration.table import terminal
from controllers.atts import DECISION
from eval.folder import read_json
from eval.trees import NAME, read_trees
from eval.withheld import digest
from reason.errors import UsageError
from reason.events import Noted


def decisions_of(folder: Path) -> Iterator[Decision]:
    """Of the runs of an evaluation, one run after the other."""
    for tree in read_trees(folder / NAME):
        for event in tree.events:
            if isinstance(event, Noted) and event.name == DECISION:
                said: Any = event.value
                score = said["score"] if said["score"] is not None else float("nan")
                yield Decision(said["question"], said["turn"], score, said["p"], said["rejected"])


def audit_folder(folder: Path, file: Path | None, console: Console, json: bool) -> int:
    """Print the audit, and draw it into FOLDER/audit. The calibration is that of the evaluation,
    unless another `file` is given. Raises UsageError for a folder without decisions."""
    config = read_json(folder / "config.json")
    if config is None:
        raise UsageError(f"{folder} holds no evaluation: there is no config.json")
    method = config["controller"]
    decisions = list(decisions_of(folder))
    if method.get("name") != "atts" or not decisions:
        raise UsageError(
            f"{folder} is an evaluation of {method.get('name')} with {len(decisions)} decisions; "
            "an audit needs one of atts, with the thread trees kept (trees=true)"
        )
    used = file or (Path(method["calibration"]) if method.get("calibration") else None)
    calibration = load(used) if used else None
    known = config.get("calibrations", {}).get("root", {}).get("sha256")
    if used and not file and known not in (None, digest(used)):
        raise UsageError(
            f"{used} is not the calibration any more that {folder} was decided by: give that one "
            "with --out, or evaluate anew"
        )
    found = audit(decisions, method["rate"], calibration.sample if calibration else None)
    plots = draw(found, folder / "audit")
    if json:
        whole = found.to_json() | {"plots": [str(folder / "audit" / name) for name in plots]}
        console.out(msgspec.json.encode(whole).decode(), highlight=False)
        return 0
    for part in terminal(found):
        console.print(part)
    console.print(f"Plots are in {folder / 'audit'}", soft_wrap=True, markup=False)
    return 0
