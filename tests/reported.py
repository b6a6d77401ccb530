"""Evaluations for reports: made by the oracle, with their trees, and the clock set by hand."""

import asyncio
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from eval.item import Item
from reason.backends.base import Backend
from reason.run import Controller
from tests.evaluation import APR, evaluate_oracle, problems
from tests.oracle import oracle

METHODS: dict[str, Controller] = {
    "apr": APR,
    "single": Single(syntax="countdown"),
    "vote": SelfConsistency(3, syntax="countdown"),
}
SECONDS = {"apr": 0.25, "single": 0.5, "vote": 1.0}
_FOLDER = TemporaryDirectory(prefix="reason-report-")


@cache
def evaluations() -> Path:
    """A folder with three methods, on the same 6 problems, each asked twice."""
    root = Path(_FOLDER.name)
    for name, controller in METHODS.items():
        evaluate(root / name, controller, problems(6), seconds=SECONDS[name])
    return root


def evaluate(
    out: Path,
    controller: Controller,
    items: Sequence[Item],
    *,
    backend: Backend | None = None,
    repeats: int = 2,
    seconds: float = 1.0,
    trees: bool = True,
) -> None:
    """One evaluation; every run took as many `seconds`, the second one twice that."""
    model = backend or oracle(wrong=0.2, silent=0.1)
    asyncio.run(
        evaluate_oracle(
            out, backend=model, controller=controller, items=items, repeats=repeats, trees=trees
        )
    )
    set_clock(out, seconds)


def set_clock(out: Path, seconds: float) -> None:
    """As if the runs had taken this long, two at a time."""
    path = out / "timing.json"
    timing: dict[str, Any] = json.loads(path.read_text())
    for name, of in timing["samples"].items():
        of["seconds"] = seconds * (1 + int(name.rpartition("/")[2]))
        of["ttft"] = seconds / 10
    timing["seconds"] = sum(of["seconds"] for of in timing["samples"].values()) / 2
    path.write_text(json.dumps(timing))
