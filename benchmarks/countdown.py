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
import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.countdown_arms import BUDGETS, FIGURES, OWN, TASK, chosen, study
from eval.comparison import holm, paired_difference
from eval.metrics import Figure, measure
from eval.samples import Sample


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
