"""Evaluations for reports: made by the oracle, with their trees, and the clock set by hand."""

import asyncio
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from eval.folders import read_evaluations
from eval.item import Item
from eval.publish import Publication
from eval.samples import Sample
from reason.backends.base import Backend
from reason.run import Controller
from tests.evaluation import APR, evaluate_oracle, problems
from tests.oracle import oracle

METHODS: dict[str, Controller] = {
    "apr": APR,
    "single": Single(syntax="countdown"),
    "vote": SelfConsistency(3, syntax="countdown"),
}
PRICES = "[models.oracle]\nprompt = 1.0\ncached = 0.5\nsampled = 4.0\n"
SECONDS = {"apr": 0.25, "single": 0.5, "vote": 1.0}
LABELS = {"apr": "apr", "single": "single", "vote": "self_consistency"}
_FOLDER = TemporaryDirectory(prefix="reason-report-")


@cache
def evaluations() -> Path:
    """A folder with three methods, on the same 6 problems, each asked twice."""
    root = Path(_FOLDER.name) / "runs"
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
    times = [json.loads(line) for line in (out / "times.jsonl").read_text().splitlines()]
    for of in times:
        of |= {"seconds": seconds * (1 + of["repeat"]), "ttft": seconds / 10}
    timing["seconds"] = sum(of["seconds"] for of in times) / 2
    path.write_text(json.dumps(timing))
    (out / "times.jsonl").write_text("".join(json.dumps(of) + "\n" for of in times))


def printed(places: list[Path], out: Path, width: int = 80, **options: Any) -> str:
    """What `reason report` writes to a terminal; `out` is called OUT there."""
    console = Console(file=io.StringIO(), width=width)
    assert Publication(places, out, **options).write(console) == 0
    assert isinstance(console.file, io.StringIO)
    lines = (line.rstrip() for line in console.file.getvalue().splitlines())
    return "\n".join([*lines, ""]).replace(str(out), "OUT")


@cache
def page() -> Path:
    """The page of all of them, with its other files beside it."""
    out, prices = Path(_FOLDER.name) / "report", Path(_FOLDER.name) / "prices.toml"
    prices.write_text(PRICES)
    printed([evaluations()], out, prices=prices)
    return out / "report.html"


def rows() -> dict[str, list[Sample]]:
    """The samples, by the label of their method."""
    return {
        label: read_evaluations([evaluations() / name])[0].rows for name, label in LABELS.items()
    }
