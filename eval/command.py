"""`reason eval TASK:REPEATS`: what the command does once its options are objects.

The command line parses the options, connects the backends, and awaits `evaluate_command` in the
event loop in which the backends live; it closes them afterwards, prints a ReasonError as one line,
and turns Ctrl-C (a cancellation here) into exit code 130.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from eval.folder import read_json
from eval.item import Item
from eval.progress import ProgressLine
from eval.report import table
from eval.runner import evaluate
from eval.tasks import KNOWN, task_of
from reason.backends.base import Backend
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller


def parse_task(text: str) -> tuple[str, int]:
    """The task and its repeats: "countdown4:8" is ("countdown4", 8), "countdown4" once."""
    name, colon, repeats = text.partition(":")
    if not name:
        raise UsageError(f"which task? for example: reason eval countdown4; there is: {KNOWN}")
    if colon and not (repeats.isascii() and repeats.isdecimal() and int(repeats) > 0):
        raise UsageError(f"expected TASK:REPEATS with repeats of 1 or more, got {text!r}")
    return name, int(repeats) if colon else 1


async def evaluate_command(
    task: str,
    repeats: int,
    controller: Controller,
    backends: Mapping[str, Backend],
    budget: Budget,
    limit: int,
    seed: int,
    concurrency: int,
    out: Path,
    console: Console,
    json: bool,
) -> int:
    """Evaluate, or resume, and print the figures; the exit code: 1 if the model failed anywhere.

    `task` is a name of eval.tasks; its first `limit` problems are asked `repeats` times each.
    `console` writes to standard output; only a terminal gets a progress line, and none with
    `json`. Raises UsageError and BackendError as `evaluate` does.
    """
    if limit < 1:
        raise UsageError(f"limit must be 1 or more, got {limit}")
    quiet = Console(quiet=True) if json else console
    drawn = task_of(task).items(limit, seed, backends["policy"].info.grammar)
    items = await _all_of(drawn, limit, quiet)
    config = resolve(task, repeats, controller, controller.name, backends, budget, limit, seed)
    title = f"{task} · {controller.name}"
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
            on_row=progress,
        )
    timing = read_json(out / "timing.json") or {}
    if json:
        report = {"out": str(out), "config": config, **msgspec.to_builtins(metrics)}
        report["timing"] = {key: timing[key] for key in timing if key != "samples"}
        console.out(msgspec.json.encode(report).decode(), highlight=False)
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
    samples = out / "samples.jsonl"
    rows = samples.read_bytes().count(b"\n") if samples.exists() else 0
    if not rows:
        return "no sample was finished"
    return f"finished samples: {rows}, in {out}; the same command goes on from there"


async def _all_of(items: Iterator[Item], total: int, console: Console) -> list[Item]:
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
) -> dict[str, Any]:
    """Everything that the results depend on, as config.json holds it; a limit of null is none."""
    limits = {f.name: getattr(budget, f.name) for f in fields(budget)}
    return {
        "task": task,
        "repeats": repeats,
        "limit": limit,
        "seed": seed,
        "controller": {"name": controller_name, **asdict(controller)},
        "budget": {name: value if isfinite(value) else None for name, value in limits.items()},
        "backends": {
            role: {
                "model": backend.info.model,
                "tokenizer": backend.info.tokenizer,
                "grammar": backend.info.grammar,
                "context": backend.info.context,
            }
            for role, backend in backends.items()
        },
    }
