"""`reason sweep`: the cells of a grid, one evaluation after the other, each in its own folder.

A cell that was finished is read, not run again; one that was interrupted goes on. Cells that run on
the same model share it. A cell that fails does not keep the others from running.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from eval.allowance import Allowance, Limits
from eval.evaluation import Evaluation
from eval.folder import read_json
from eval.forecast import Plan, forecast, table
from eval.grid import cells
from eval.tasks import Asked
from reason.backends.base import Backend
from reason.config import Values, build, merge, read_toml
from reason.errors import BudgetExceeded, ReasonError, UsageError
from reason.keys import Eval
from reason.session import run
from reason.settings import command_of

FAILED = 1
RECIPES = Path(str(files("eval") / "recipes"))


@dataclass
class Cell:
    """One evaluation of a sweep, and what became of it."""

    name: str
    tables: Values
    """What `reason eval` is given, the folder included."""
    folder: Path
    error: str | None = None

    def evaluation(self, data: bool) -> Evaluation:
        """Raises UsageError for keys and values that are wrong."""
        return Evaluation.of(command_of(Eval, self.tables), self.tables, data)

    def figures(self, task: Asked, several: bool) -> dict[str, Any] | None:
        """What metrics.json holds; None before all samples are there."""
        folder = self.folder / task.title if several else self.folder
        found: dict[str, Any] | None = read_json(folder / "metrics.json")
        return found


@dataclass(frozen=True)
class Sweep:
    """All cells, checked before the first of them runs."""

    cells: list[Cell]
    evaluations: list[Evaluation]
    limits: Limits
    plan: Plan
    out: Path

    @classmethod
    def of(cls, path: Path, changes: Values, out: Path | None, data: bool = True) -> "Sweep":
        """From a TOML file; `changes` go before what it says for all cells. Raises UsageError, for
        data that cannot be used as well, unless `data` is false."""
        config = merge(read_toml(path), changes)
        own = {"json", "out"} & config.keys()
        if own:
            raise UsageError(
                f"{path}: {', '.join(sorted(own))} is for the command line of the sweep"
            )
        limits = build(Limits, config.get("stop", {}), at="stop.")
        plan = Plan.of(config.get("plan", {}))
        out = out or Path("runs") / path.stem
        found = [
            Cell(cell.name, {**cell.tables, "out": str(out / cell.name)}, out / cell.name)
            for cell in cells(config)
        ]
        evaluations = []
        for cell in found:
            try:
                evaluations.append(cell.evaluation(data))
            except UsageError as error:
                raise UsageError(f"{cell.name}: {error}") from None
        return cls(found, evaluations, limits, plan, out)

    def foretell(self, console: Console, json: bool) -> None:
        """What all cells will take, as a table or one object for machines."""
        found = [
            one
            for cell, evaluation in zip(self.cells, self.evaluations, strict=True)
            for one in forecast(cell.name, evaluation, self.plan)
        ]
        if json:
            console.out(msgspec.json.encode({"cells": found}).decode(), highlight=False)
        else:
            console.print(table(found))

    def settle(
        self,
        pairs: Sequence[tuple[Cell, Evaluation]] | None = None,
        models: Mapping[str, Backend] | None = None,
    ) -> None:
        """Raise UsageError naming all cells (of these pairs) that hold another configuration, as
        far as can be told without models, or with them."""
        if pairs is None:
            pairs = list(zip(self.cells, self.evaluations, strict=True))
        found: dict[str, list[str]] = {}
        for cell, evaluation in pairs:
            if wrong := "; ".join(evaluation.conflicts(models)):
                found.setdefault(wrong, []).append(cell.name)
        if found:
            told = "; ".join(f"{', '.join(cells)} ({wrong})" for wrong, cells in found.items())
            raise UsageError(
                f"in {self.out} are cells of another configuration: {told}. Give the same "
                "options to go on, or another folder"
            )

    def go(self, console: Console) -> int:
        """Run what is missing; the exit code. What fails or stops it is told, with what is left.

        Raises UsageError for cells that hold another configuration, before any runs; of those on
        models that come later, before any of them does.
        """
        self.settle()
        allowance = Allowance(self.limits)
        pairs = sorted(zip(self.cells, self.evaluations, strict=True), key=self._models)
        done = 0
        for _, group in groupby(pairs, key=self._models):
            of_model = list(group)
            models = of_model[0][1].connect(console)
            work = self._run(of_model, models, console, allowance, done)
            if run(work, models, self.kept, virtual=of_model[0][1].archive is not None):
                break
            done += len(of_model)
        return FAILED if self.unfinished() else 0

    async def _run(
        self,
        pairs: Sequence[tuple[Cell, Evaluation]],
        models: Mapping[str, Backend],
        console: Console,
        allowance: Allowance,
        done: int,
    ) -> int:
        """Cells on the same models; not 0 if the sweep is over."""
        self.settle(pairs, models)
        for number, (cell, evaluation) in enumerate(pairs, done + 1):
            console.print(f"{number}/{len(self.cells)} {cell.name}", markup=False)
            try:
                await evaluation.go(models, console, brief=True, allowance=allowance)
            except ReasonError as error:
                cell.error = str(error)
                console.print(f"  {error}", style="yellow", markup=False, soft_wrap=True)
                if isinstance(error, BudgetExceeded):
                    return FAILED
        return 0

    def _models(self, pair: tuple[Cell, Evaluation]) -> int:
        """A number for the models it runs on, in the order of the cells."""
        return [one.models for one in self.evaluations].index(pair[1].models)

    def kept(self) -> str:
        """What is left of a sweep that is stopped."""
        left = len(self.unfinished())
        return (
            f"cells finished: {len(self.cells) - left} of {len(self.cells)}, in {self.out}; the "
            "same command goes on from there"
        )

    def unfinished(self) -> list[Cell]:
        """Cells of which samples are missing, or failed."""
        return [
            cell
            for cell, evaluation in zip(self.cells, self.evaluations, strict=True)
            if any(found is None or found["errors"] for _, found in self._figures(cell, evaluation))
        ]

    def _figures(
        self, cell: Cell, evaluation: Evaluation
    ) -> Iterator[tuple[Asked, dict[str, Any] | None]]:
        for task in evaluation.tasks:
            yield task, cell.figures(task, len(evaluation.tasks) > 1)

    def rows(self) -> Iterator[tuple[Cell, Asked, dict[str, Any] | None]]:
        """The figures of every cell and task."""
        for cell, evaluation in zip(self.cells, self.evaluations, strict=True):
            for task, found in self._figures(cell, evaluation):
                yield cell, task, found

    def show(self, console: Console, json: bool) -> None:
        """A table of all cells, or one object for machines."""
        if json:
            listed = [
                {
                    "cell": cell.name,
                    "task": task.title,
                    "folder": str(cell.folder),
                    "error": cell.error,
                    "metrics": found,
                }
                for cell, task, found in self.rows()
            ]
            data = msgspec.json.encode({"out": str(self.out), "cells": listed})
            console.out(data.decode(), highlight=False)
            return
        console.print(self._table())
        if self.unfinished():
            console.print(self.kept(), markup=False, soft_wrap=True)
        console.print(f"reason report {self.out} draws and compares them.", markup=False)

    def _table(self) -> Table:
        several = len({task.title for _, task, _ in self.rows()}) > 1
        found = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        found.add_column("cell")
        for name in (["task"] if several else []) + ["accuracy", "critical path", "tokens"]:
            found.add_column(name, justify="right" if name != "task" else "left", no_wrap=True)
        for cell, task, of_cell in self.rows():
            titles = [task.title] if several else []
            found.add_row(cell.name.replace(",", ", "), *titles, *_shown(of_cell))
        return found


def sweep_file(name: Path) -> Path:
    """A file, or one of the sweeps that ship, by name. Raises UsageError naming those."""
    shipped = {file.name: file for file in sorted(RECIPES.glob("*.toml"))}
    if name.is_file():
        return name
    if found := shipped.get(f"{str(name).removesuffix('.toml')}.toml"):
        return found
    raise UsageError(
        f"there is no sweep {str(name)!r}; with the package come: {', '.join(shipped)}"
    )


def _shown(metrics: Mapping[str, Any] | None) -> Iterable[str]:
    if metrics is None:
        return ("not finished", "", "")
    value, low, high = (100 * metrics["accuracy"][key] for key in ("value", "low", "high"))
    return (
        f"{value:.1f}% [{low:.1f}, {high:.1f}]",
        f"{metrics['critical_path']['mean']:,.0f}",
        f"{metrics['tokens_per_sample']['mean']:,.0f}",
    )
