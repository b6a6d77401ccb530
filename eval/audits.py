"""`reason calibrate --audit DIR`: did the decisions of an evaluation keep what was promised?"""

from collections import Counter
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
from eval.trees import NAME, Tree, read_trees
from eval.withheld import digest
from reason.errors import UsageError
from reason.events import Noted
from reason.keys import Calibrate
from reason.run import WARNING


def decisions_of(tree: Tree) -> Iterator[Decision]:
    """Of a run, in the order they were made."""
    for event in tree.events:
        if isinstance(event, Noted) and event.name == DECISION:
            said: Any = event.value
            score = said["score"] if said["score"] is not None else float("nan")
            yield Decision(said["question"], said["turn"], score, said["p"], said["rejected"])


def warnings_of(tree: Tree) -> set[str]:
    """What a run warns of, such as a calibration that was forced."""
    return {str(e.value) for e in tree.events if isinstance(e, Noted) and e.name == WARNING}


def audit_folder(folder: Path, asked: Calibrate, console: Console) -> int:
    """Print the audit, and draw it into FOLDER/audit. The calibration is that of the evaluation,
    unless another was asked for. Raises UsageError for a folder without decisions."""
    file = asked.calibration
    if asked.out:
        raise UsageError(
            "an audit makes no calibration: leave --out away, or name the one to hold it against "
            f"with calibration=FILE; figures go to {folder / 'audit'}, --json prints them"
        )
    config = read_json(folder / "config.json")
    if config is None:
        raise UsageError(f"{folder} holds no evaluation: there is no config.json")
    method = config["controller"]
    decisions: list[Decision] = []
    warned, runs = Counter[str](), 0
    for tree in read_trees(folder / NAME):
        decisions += decisions_of(tree)
        warned.update(warnings_of(tree))
        runs += 1
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
            "as calibration=FILE, or evaluate anew"
        )
    found = audit(decisions, method["rate"], calibration.sample if calibration else None)
    plots = draw(found, folder / "audit")
    if asked.json:
        whole = found.to_json() | {
            "runs": runs,
            "calibration": str(used) if used else None,
            "warnings": dict(sorted(warned.items())),
            "plots": [str(folder / "audit" / name) for name in plots],
        }
        console.out(msgspec.json.encode(whole).decode(), highlight=False)
        return 0
    for part in terminal(found):
        console.print(part)
    remarks = [f"{count} of {runs} runs: {text}" for text, count in sorted(warned.items())]
    if file and known != digest(file):
        remarks.append(f"held against {file}, which is not what it was decided by")
    for remark in remarks:
        console.print(f"! {remark}", style="yellow", soft_wrap=True, markup=False)
    console.print(f"Plots are in {folder / 'audit'}", soft_wrap=True, markup=False)
    return 0
