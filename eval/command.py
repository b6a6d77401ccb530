"""`reason eval TASK:REPEATS`: what the command does once its options are objects.

The command line parses the options, connects the backends, and awaits `evaluate_command` in the
event loop in which the backends live; it closes them afterwards, prints a ReasonError as one line,
and turns Ctrl-C (a cancellation here) into exit code 130.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from eval.allowance import Allowance
from eval.archive import Archive
from eval.folder import read_json
from eval.item import Item
from eval.progress import ProgressLine, percent
from eval.report import table
from eval.runner import evaluate
from eval.tasks import Asked, task_of
from eval.withheld import (
    calibrated_on,
    check_unknown,
    digests,
    identified,
    told,
    without,
)
from reason.backends.base import Backend
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller, described, titled


async def evaluate_tasks(
    tasks: Sequence[Asked],
    controller: Controller,
    backends: Mapping[str, Backend],
    *,
    out: Path,
    console: Console,
    json: bool,
    **options: Any,
) -> int:
    """Evaluate several tasks one after the other, each in a folder of its own below `out`; one task
    in `out` itself. The exit code; `options` are those of `evaluate_command`. With `json` one
    object is printed: that of the task, or {"out", "tasks"} for several."""
    reports: list[dict[str, Any]] = []
    several, codes = len(tasks) > 1, []
    for task in tasks:
        folder = out / task.title if several else out
        options = {**options, "console": console, "reports": reports if json else None}
        codes.append(await evaluate_command(task, controller, backends, out=folder, **options))
    if json:
        whole = {"out": str(out), "tasks": reports} if several else reports[0]
        console.out(msgspec.json.encode(whole).decode(), highlight=False)
    return max(codes)


async def evaluate_command(
    task: Asked,
    controller: Controller,
    backends: Mapping[str, Backend],
    *,
    budget: Budget,
    limit: int | None,
    exclude_unreadable: bool,
    calibration: Path | None = None,
    seed: int,
    problems_seed: int,
    concurrency: int,
    tokens_in_flight: int | None,
    trees: bool,
    out: Path,
    console: Console,
    reports: list[dict[str, Any]] | None,
    archive: Archive | None = None,
    brief: bool = False,
    allowance: Allowance | None = None,
) -> int:
    """Evaluate, or resume, and print the figures; the exit code: 1 if the model failed anywhere.

    The first `limit` problems of the task are asked; of an `archive`, if there is one, whose
    answers are served. `console` writes to standard output; only a terminal gets a progress line.
    With `reports` nothing is printed, and the figures are added there; `brief` is one line.
    Questions of the `calibration` are left out. Raises UsageError, BackendError and BudgetExceeded
    as `evaluate` does.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be 1 or more, got {limit}")
    quiet = Console(quiet=True) if reports is not None else console
    problems = task_of(task.name)
    drawn = problems.items(limit, problems_seed, backends["policy"].info.grammar)
    items = await _all_of(drawn, limit, quiet)
    unreadable = {item.id: item.refusal for item in items if item.refusal}
    if unreadable:
        quiet.print(_unreadable(unreadable, len(items), exclude_unreadable), markup=False)
    name, repeats, asked = controller.name, task.repeats, len(items)
    config = resolve(
        task.title, repeats, controller, name, backends, budget, asked, seed, problems_seed
    )
    if data := problems.describe():
        config |= {"data": data, "excluded": sorted(unreadable) if exclude_unreadable else []}
    if archive:
        config["replay"] = archive.source
    if calibration:
        known = calibrated_on(calibration)
        items, config["without"] = without(items, known, calibration), identified(known)
    check_unknown(controller, items)
    controller = told(controller, task.title)
    if exclude_unreadable:
        items = [item for item in items if not item.refusal]
    title = f"{task.title} · {titled(controller)}"
    with ProgressLine(quiet, title, len(items) * repeats) as progress:
        metrics = await evaluate(
            controller,
            items,
            backends,
            out,
            config=config,
            repeats=repeats,
            budget=budget,
            seed=seed,
            concurrency=concurrency,
            tokens_in_flight=tokens_in_flight,
            trees=trees,
            recording=archive.recording if archive else None,
            allowance=allowance,
            on_row=progress,
        )
    timing = read_json(out / "timing.json") or {}
    if reports is not None:
        report = {"out": str(out), "config": config, **msgspec.to_builtins(metrics)}
        report["timing"] = timing
        report["unreadable"] = unreadable
        reports.append(report)
    elif brief:
        console.print(f"{title}: {percent(metrics.accuracy)}", markup=False)
    else:
        console.print(table(title, metrics, timing))
        console.print(f"Samples and figures are in {out}", soft_wrap=True, markup=False)
        if metrics.errors:
            console.print(
                f"The model failed in {metrics.errors} of {metrics.samples} samples; the same "
                "command tries them again.",
                soft_wrap=True,
            )
    return 1 if metrics.errors else 0


def kept(out: Path) -> str:
    """What is left of an evaluation that is stopped."""
    files = [*out.glob("samples.jsonl"), *out.glob("*/samples.jsonl")]
    rows = sum(file.read_bytes().count(b"\n") for file in files)
    if not rows:
        return "no sample was finished"
    return f"finished samples: {rows}, in {out}; the same command goes on from there"


def _unreadable(refusals: Mapping[str, str], questions: int, excluded: bool) -> str:
    """What is said of right answers that no grader can read."""
    listed = "; ".join(f"{id} ({refusal})" for id, refusal in refusals.items())
    return f"{len(refusals)} of {questions} right answers cannot be read: {listed}. " + (
        "Their questions are left out."
        if excluded
        else "Only the very same words count; exclude_unreadable=true leaves these questions out."
    )


async def _all_of(items: Iterator[Item], total: int | None, console: Console) -> list[Item]:
    """All problems, with a bar on a terminal while they are drawn."""
    found = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for item in progress.track(items, total, description="drawing problems"):
            found.append(item)
            await asyncio.sleep(0)  # so that Ctrl-C is heard
    return found


def resolve(
    task: str,
    repeats: int,
    controller: Controller,
    controller_name: str,
    backends: Mapping[str, Backend],
    budget: Budget,
    limit: int,
    seed: int,
    problems_seed: int = 0,
) -> dict[str, Any]:
    """Everything that the results depend on, as config.json holds it; a limit of null is none."""
    used = {"calibrations": found} if (found := digests(controller)) else {}
    limits = {f.name: getattr(budget, f.name) for f in fields(budget)}
    return {
        "task": task,
        "repeats": repeats,
        "limit": limit,
        "seed": seed,
        "problems_seed": problems_seed,
        "controller": {**described(controller), "name": controller_name},
        "budget": {name: value if isfinite(value) else None for name, value in limits.items()},
        "backends": {
            role: {
                "model": _named(backend.info.model),
                "tokenizer": _named(backend.info.tokenizer),
                "fingerprint": backend.info.fingerprint,
                "grammar": backend.info.grammar,
                "context": backend.info.context,
            }
            for role, backend in backends.items()
        },
        **used,
    }


def _named(place: str) -> str:
    """A model that ships by its name, not by where this machine keeps it."""
    shipped = Path(str(files("reason") / "models")).resolve()
    path = Path(place)
    return path.name if path.resolve().parent == shipped else place
