"""The Countdown comparison: APR against serial search and sampling, with the same weights.

    python -m benchmarks.countdown MODEL... --out runs/countdown [--limit 500]

Several models are training seeds of one recipe; a problem's score is averaged over them and the
problem stays the sampling unit. Fixed before looking: serial search in its best variants
(exhaustive in canonical order, and 8 promising first operations), greedy, in 2,048 tokens; APR with
every width; self-consistency and verified best-of-n with as many chains as make up APR's total
tokens. Budgets of context window and critical path: 256, 384, 512, 768.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.progress import track
from rich.table import Table

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from eval.command import resolve
from eval.comparison import paired_difference
from eval.metrics import Figure, accuracy_within, measure
from eval.runner import evaluate
from eval.samples import Sample, Samples
from eval.tasks import task_of
from reason.backends.hf import HFBackend
from reason.ledger import Budget
from reason.run import Controller
from reason.types import SamplingParams

BUDGETS = (256, 384, 512, 768)
CHAINS = 4
GREEDY = SamplingParams(temperature=0.0, max_tokens=2048)
WARM = SamplingParams(temperature=1.0, max_tokens=2048)
TASK = "countdown4"

ARMS: dict[str, Controller] = {
    "apr": AdaptiveParallel(syntax="countdown", sampling=GREEDY),
    "apr, 8 children": AdaptiveParallel(width=8, syntax="countdown", sampling=GREEDY),
    "apr, 4 children": AdaptiveParallel(width=4, syntax="countdown", sampling=GREEDY),
    "apr, 2 children": AdaptiveParallel(width=2, syntax="countdown", sampling=GREEDY),
    "serial, exhaustive": Single(syntax="countdown", sampling=GREEDY),
    "serial, 8 first steps": Single(width=8, syntax="countdown", sampling=GREEDY),
    "self-consistency": SelfConsistency(CHAINS, 8, "countdown", WARM),
    "verified best-of-n": BestOfN(CHAINS, enough=1, width=8, syntax="countdown", sampling=WARM),
}
SAMPLED = ("self-consistency", "verified best-of-n")
"""Cutting a chain leaves the others their vote, so these are run anew under every budget."""


async def run(model: Path, out: Path, limit: int, name: str, context: float) -> list[Sample]:
    """The samples of one arm under one context window, resumed where they are there already."""
    budget, method = Budget(context=context), ARMS[name]
    backend = HFBackend.load(str(model))
    try:
        items = list(task_of(TASK).items(limit, 0, "countdown"))
        config = resolve(TASK, 1, method, name, {"policy": backend}, budget, limit, 0)
        folder = out / model.parent.name / f"{name}@{context:g}"
        await evaluate(
            method, items, {"policy": backend}, folder, config=config, budget=budget, concurrency=24
        )
        with Samples(folder / "samples.jsonl") as samples:
            return samples.load()
    finally:
        await backend.close()


def study(models: Sequence[Path], out: Path, limit: int) -> dict[str, list[Sample]]:
    """Samples by arm, those of the sampled arms also as "arm@window"; repeat = training seed."""
    jobs = [(name, 2048.0) for name in ARMS]
    jobs += [(name, float(window)) for name in SAMPLED for window in BUDGETS]
    found: dict[str, list[Sample]] = {}
    for seed, model in enumerate(models):
        for name, window in track(jobs, f"{model}"):
            rows = asyncio.run(run(model, out, limit, name, window))
            key = name if window == 2048 else f"{name}@{window:g}"
            found.setdefault(key, []).extend(replace(row, repeat=seed) for row in rows)
    return found


def within(found: dict[str, list[Sample]], name: str, figure: Figure) -> list[float]:
    """Accuracy of an arm under every budget of that figure."""
    if name in SAMPLED and figure != "total_tokens":
        return [measure(found[f"{name}@{window}"]).accuracy.value for window in BUDGETS]
    return accuracy_within(found[name], figure, BUDGETS)


def figures(found: dict[str, list[Sample]]) -> dict[str, Any]:
    """Everything the tables and the picture show."""
    arms = {}
    for name in ARMS:
        metrics = measure(found[name])
        arms[name] = {
            "accuracy": metrics.accuracy.value,
            "interval": [metrics.accuracy.low, metrics.accuracy.high],
            "critical_path": metrics.critical_path.mean,
            "total_tokens": metrics.tokens_per_sample.mean,
            "longest_p95": metrics.longest_sequence.p95,
            "within_context": within(found, name, "longest_sequence"),
            "within_critical_path": within(found, name, "critical_path"),
            "within_total_tokens": within(found, name, "total_tokens"),
        }
    pairs = {}
    for name in ARMS:
        if name.startswith("apr"):
            continue
        for index, window in enumerate(BUDGETS):
            for figure in ("longest_sequence", "critical_path", "total_tokens"):
                first = _cut(found, "apr", figure, window)
                difference = paired_difference(first, _cut(found, name, figure, window))
                pairs[f"apr - {name}, {figure} {BUDGETS[index]}"] = [
                    difference.mean,
                    difference.low,
                    difference.high,
                    difference.p_value,
                ]
    return {"questions": measure(found["apr"]).questions, "arms": arms, "pairs": pairs}


def _cut(found: dict[str, list[Sample]], name: str, figure: str, window: int) -> list[Sample]:
    if name in SAMPLED and figure != "total_tokens":
        return found[f"{name}@{window}"]
    return [
        replace(row, correct=row.correct and getattr(row, figure) <= window) for row in found[name]
    ]


def tables(console: Console, result: dict[str, Any]) -> None:
    """Print the arms, and the paired differences to APR."""
    table = Table(title=f"{TASK}, {result['questions']} held-out problems")
    for column in ("", "accuracy", "critical", "total", "context p95"):
        table.add_column(column, justify="left" if not column else "right")
    for kind in ("context", "critical path"):
        for budget in BUDGETS:
            table.add_column(f"{kind} {budget}", justify="right")
    for name, arm in result["arms"].items():
        low, high = arm["interval"]
        inside = [*arm["within_context"], *arm["within_critical_path"]]
        table.add_row(
            name,
            f"{arm['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
            f"{arm['critical_path']:.0f}",
            f"{arm['total_tokens']:.0f}",
            f"{arm['longest_p95']:.0f}",
            *(f"{value:.3f}" for value in inside),
        )
    console.print(table)
    for name, (mean, low, high, p) in result["pairs"].items():
        console.print(f"{name}: {mean:+.3f} [{low:+.3f}, {high:+.3f}], p = {p:.2g}")


def picture(found: dict[str, list[Sample]], path: Path) -> None:
    """Three panels: what share is solved within so many tokens of each kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [
        ("apr", "APR", "#c2410c"),
        ("serial, exhaustive", "serial search, exhaustive", "#1d4ed8"),
        ("serial, 8 first steps", "serial search, 8 first steps", "#60a5fa"),
        ("verified best-of-n", f"verified best of {CHAINS} serial chains", "#15803d"),
        ("self-consistency", f"majority of {CHAINS} serial chains", "#84cc16"),
    ]
    panels: list[tuple[Figure, str]] = [
        ("longest_sequence", "context window"),
        ("critical_path", "critical path"),
        ("total_tokens", "total tokens"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), sharey=True)
    for axis, (kind, label) in zip(axes, panels, strict=True):
        limits = list(range(32, 1025 if kind != "total_tokens" else 2049, 8))
        for name, title, colour in shown:
            if name in SAMPLED and kind != "total_tokens":
                values = within(found, name, kind)
                axis.plot(BUDGETS, values, "o--", color=colour, ms=4, lw=1.2, label=title)
            else:
                values = accuracy_within(found[name], kind, limits)
                axis.plot(limits, values, color=colour, lw=2, label=title)
        axis.set_xlabel(f"{label} (tokens)")
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of 4-number problems solved")
    axes[2].legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout()
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = study(options.models, options.out, options.limit)
    result = figures(found)
    (options.out / "countdown.json").write_text(json.dumps(result, indent=1))
    picture(found, options.out / "countdown.svg")
    if options.json:
        print(json.dumps(result))
    else:
        tables(Console(width=200), result)


if __name__ == "__main__":
    main()
