"""The Countdown comparison: APR against serial search and sampling.

    python -m benchmarks.countdown MODEL... [--serial MODEL] --out runs/countdown [--limit 500]

Several models are training seeds of one recipe; a problem's score is averaged over them and the
problem stays the sampling unit. The serial arms run with the same weights and, if a model is given
that was trained on serial search alone, with those too. Fixed before looking: serial search in its
best variants (exhaustive in canonical order, and 8 first operations), greedy, in 2,048 tokens; APR
with every width; majority vote and verified best-of-n over serial chains at temperature 1, with
the number of chains whose total tokens come nearest to APR's. Chains are sampled once, from the
first model, on record: a vote under a budget counts those that fit in it, which is what a run
under that budget does. Budgets of context window, critical path and total tokens: 256, 384, 512,
768. Holm's correction over all comparisons.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.progress import track
from rich.table import Table

from controllers.apr import AdaptiveParallel
from controllers.single import Single
from eval.command import resolve
from eval.comparison import holm, paired_difference
from eval.metrics import Figure, measure
from eval.runner import evaluate
from eval.samples import Sample, Samples
from eval.tasks import task_of
from reason.answers import majority
from reason.backends.hf import HFBackend
from reason.ledger import Budget
from reason.run import Controller
from reason.types import SamplingParams

Arms = dict[str, list[Sample]]
Pick = Callable[[Sequence[Sample], Figure, float], Sample]
BUDGETS = (256, 384, 512, 768)
CHAINS = 4
GREEDY = SamplingParams(temperature=0.0, max_tokens=2048)
WARM = SamplingParams(temperature=1.0, max_tokens=2048)
TASK = "countdown4"
FIGURES: tuple[Figure, ...] = ("longest_sequence", "critical_path", "total_tokens")

ARMS: dict[str, Controller] = {
    "apr": AdaptiveParallel(syntax="countdown", sampling=GREEDY),
    "apr, 8 children": AdaptiveParallel(width=8, syntax="countdown", sampling=GREEDY),
    "apr, 4 children": AdaptiveParallel(width=4, syntax="countdown", sampling=GREEDY),
    "apr, 2 children": AdaptiveParallel(width=2, syntax="countdown", sampling=GREEDY),
    "serial, exhaustive": Single(syntax="countdown", sampling=GREEDY),
    "serial, 8 first steps": Single(width=8, syntax="countdown", sampling=GREEDY),
}
SAMPLED: dict[str, Controller] = {
    "chains, exhaustive": Single(syntax="countdown", sampling=WARM),
    "chains, 8 first steps": Single(width=8, syntax="countdown", sampling=WARM),
}
"""Chains that are sampled `CHAINS` times each."""
OWN = ", own weights"
"""Said of the serial arms of a model that was trained on serial search alone."""


async def run(
    model: Path, out: Path, limit: int, name: str, method: Controller, repeats: int
) -> list[Sample]:
    """The samples of one arm, resumed where they are there already."""
    budget = Budget(context=2048)
    backend = HFBackend.load(str(model))
    try:
        items = list(task_of(TASK).items(limit, 0, "countdown"))
        config = resolve(TASK, repeats, method, name, {"policy": backend}, budget, limit, 0)
        folder = out / model.parent.name / name
        backends = {"policy": backend}
        await evaluate(
            method, items, backends, folder,
            config=config, repeats=repeats, budget=budget, concurrency=24,
        )  # fmt: skip
        with Samples(folder / "samples.jsonl") as samples:
            return samples.load()
    finally:
        await backend.close()


def study(
    models: Sequence[Path], serial: Path | None, out: Path, limit: int
) -> dict[str, list[Sample]]:
    """Samples by arm; the repeat of a row says which training seed it is of."""
    found: dict[str, list[Sample]] = {}
    jobs = [(models[0], 0, name) for name in ARMS | SAMPLED]
    jobs += [(model, seed, name) for seed, model in enumerate(models) if seed for name in ARMS]
    if serial:
        jobs += [(serial, 0, name) for name in ARMS | SAMPLED if not name.startswith("apr")]
    for model, seed, name in track(jobs, "arms"):
        repeats = CHAINS if name in SAMPLED else 1
        rows = asyncio.run(run(model, out, limit, name, (ARMS | SAMPLED)[name], repeats))
        found.setdefault(name + OWN * (model == serial), []).extend(
            replace(row, repeat=seed * repeats + row.repeat) for row in rows
        )
    return found


def sampled(found: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Those of the arms that are chains to choose from."""
    return [name for name in found if name.removesuffix(OWN) in SAMPLED]


def chosen(found: Mapping[str, Sequence[Sample]], figure: Figure, window: float) -> Arms:
    """Every arm as it would have come out under a budget; an infinite one cuts nothing."""
    arms: Arms = {
        name: [
            replace(row, correct=row.correct and getattr(row, figure) <= window)
            for row in found[name]
        ]
        for name in found
        if name.removesuffix(OWN) in ARMS
    }
    for name in sampled(found):
        for title, pick in (("majority", majority_of), ("verified best", verified_best)):
            n = chains(found, name, pick)
            groups: dict[tuple[str, int], list[Sample]] = {}
            for row in sorted(found[name], key=lambda row: row.repeat):
                group = groups.setdefault((row.id, row.repeat // CHAINS), [])
                if len(group) < n:
                    group.append(row)
            arms[f"{title} of {n} {name}"] = [
                replace(pick(group, figure, window), repeat=seed)
                for (_, seed), group in groups.items()
            ]
    return arms


def chains(found: Mapping[str, Sequence[Sample]], name: str, pick: Pick) -> int:
    """How many chains cost, on average, what comes nearest to APR's total tokens."""
    target = mean(row.total_tokens for row in found["apr"])

    def cost(n: int) -> float:
        groups: dict[tuple[str, int], list[Sample]] = {}
        for row in found[name]:
            if row.repeat % CHAINS < n:
                groups.setdefault((row.id, row.repeat // CHAINS), []).append(row)
        return mean(pick(group, "total_tokens", inf).total_tokens for group in groups.values())

    return min(range(1, CHAINS + 1), key=lambda n: abs(cost(n) - target))


def majority_of(group: Sequence[Sample], figure: Figure, window: float) -> Sample:
    """All chains run to their end or to the limit; those that ended inside it vote."""
    inside = [row for row in group if figure == "total_tokens" or getattr(row, figure) <= window]
    vote = majority([row.answer for row in inside])
    right = bool(inside) and vote.answer is not None and inside[vote.index].correct
    total = sum(row.total_tokens for row in group)
    return replace(
        group[0],
        correct=right and (figure != "total_tokens" or total <= window),
        total_tokens=total,
        critical_path=max(row.critical_path for row in group),
        longest_sequence=max(row.longest_sequence for row in group),
    )


def verified_best(group: Sequence[Sample], figure: Figure, window: float) -> Sample:
    """The first chain that the verifier accepts stops all others."""
    right = [row for row in group if row.correct]
    end = min((row.critical_path for row in right), default=inf)
    total = int(sum(min(row.total_tokens, end) for row in group))
    best = min(right or group, key=lambda row: row.critical_path)
    spent = total if figure == "total_tokens" else getattr(best, figure)
    return replace(best, correct=bool(right) and spent <= window, total_tokens=total)


def figures(found: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """Everything the tables and the picture show."""
    free = chosen(found, "total_tokens", inf)
    arms: dict[str, Any] = {}
    for name, rows in free.items():
        metrics = measure(rows)
        arms[name] = {
            "accuracy": metrics.accuracy.value,
            "interval": [metrics.accuracy.low, metrics.accuracy.high],
            "critical_path": metrics.critical_path.mean,
            "total_tokens": metrics.tokens_per_sample.mean,
            "longest_p95": metrics.longest_sequence.p95,
        }
    pairs: dict[str, list[float]] = {}
    for figure in FIGURES:
        for window in BUDGETS:
            cut = chosen(found, figure, window)
            for name, rows in cut.items():
                arms[name].setdefault(f"within_{figure}", []).append(measure(rows).accuracy.value)
                if not name.startswith("apr"):
                    difference = paired_difference(cut["apr"], rows)
                    pairs[f"apr - {name}, {figure} {window}"] = [
                        difference.mean, difference.low, difference.high, difference.p_value,
                    ]  # fmt: skip
    adjusted = holm({name: values[3] for name, values in pairs.items()})
    for name, p_value in adjusted.items():
        pairs[name].append(p_value)
    seeds = {
        seed: measure([row for row in found["apr"] if row.repeat == seed]).accuracy.value
        for seed in sorted({row.repeat for row in found["apr"]})
    }
    return {
        "questions": measure(found["apr"]).questions,
        "apr_by_seed": seeds,
        "arms": arms,
        "pairs": pairs,
    }


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
        inside = [*arm["within_longest_sequence"], *arm["within_critical_path"]]
        table.add_row(
            name,
            f"{arm['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
            f"{arm['critical_path']:.0f}",
            f"{arm['total_tokens']:.0f}",
            f"{arm['longest_p95']:.0f}",
            *(f"{value:.3f}" for value in inside),
        )
    console.print(table)
    for name, (gap, low, high, _, adjusted) in result["pairs"].items():
        console.print(f"{name}: {gap:+.3f} [{low:+.3f}, {high:+.3f}], Holm p = {adjusted:.2g}")


def picture(found: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """Three panels: what share is solved within so many tokens of each kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colours = ["#c2410c", "#1d4ed8", "#60a5fa", "#84cc16", "#15803d", "#a3a3a3", "#525252"]
    panels: list[tuple[Figure, str]] = [
        ("longest_sequence", "tokens of context window"),
        ("critical_path", "tokens on the critical path"),
        ("total_tokens", "tokens in all"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.8), sharey=True)
    for axis, (kind, label) in zip(axes, panels, strict=True):
        limits = list(range(32, 1025 if kind != "total_tokens" else 2049, 32))
        cuts = [chosen(found, kind, limit) for limit in limits]
        names = [name for name in cuts[0] if not name.startswith("apr,")]
        shared = [name for name in names if not name.endswith(OWN)]
        own = [name for name in names if name not in shared]
        for colour, name in [
            *zip(colours, shared, strict=False),
            *zip(colours[1:], own, strict=False),
        ]:
            values = [mean(row.correct for row in cut[name]) for cut in cuts]
            axis.plot(
                limits,
                values,
                color=colour,
                lw=2.4 if name == "apr" else 1.4,
                ls="--" if name in own else "-",
                label="APR" if name == "apr" else name,
            )
        axis.set_xlabel(label)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of 4-number problems solved")
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, frameon=False, fontsize=8, ncol=3, loc="lower center")
    figure.tight_layout(rect=(0, 0.05 + 0.033 * -(-len(labels) // 3), 1, 1))
    figure.savefig(path)
    figure.savefig(path.with_suffix(".png"), dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--serial", type=Path, help="a model trained on serial search alone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = study(options.models, options.serial, options.out, options.limit)
    result = figures(found)
    (options.out / "countdown.json").write_text(json.dumps(result, indent=1))
    picture(found, options.out / "countdown.svg")
    if options.json:
        print(json.dumps(result))
    else:
        tables(Console(width=200), result)


if __name__ == "__main__":
    main()
