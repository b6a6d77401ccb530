"""Accuracy of looking things up over the number of contexts, by the way they are read.

    python -m benchmarks.ape_quality [--limit 300] [--contexts 1 4 8 16 30 60] [--plot FILE.png]

The model `lookup`, contexts of 4 facts, the same questions for every way: `sequence`, one context
after another; `windows`, side by side with T = S = 1 and a copy of the prefix in every context;
`prefix`, the prefix shared; `ape`, T = S = 0.9 as in the paper's demonstration; `tuned`, T and S
tuned without labels on 64 other questions of 8 contexts. Intervals are Wilson's; the difference
from `sequence` is paired, with a bootstrap interval over questions.
"""

import argparse
import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from controllers.ape import ParallelEncoding
from eval.item import Item
from eval.lookup import LOOKUPS
from eval.tuning import GRID, tune
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.plotting import STYLE
from reason.run import solve
from reason.types import SamplingParams

KINDS = ("people", "homes", "shots")
APE = ParallelEncoding(syntax="lookup", sampling=SamplingParams(temperature=0, max_tokens=4))
WAYS = {
    "sequence": replace(APE, parallel=False),
    "windows": replace(APE, attention_temperature=1, scaling_factor=1, shared_prefix=False),
    "prefix": replace(APE, attention_temperature=1, scaling_factor=1),
    "ape": APE,
}
Right = dict[tuple[str, int, str], list[bool]]
"""By kind, number of contexts and way; one for each question."""


async def right(model: Backend, method: ParallelEncoding, task: str, limit: int) -> list[bool]:
    several = asyncio.Semaphore(32)

    async def one(item: Item) -> bool:
        async with several:
            done = await solve(method, item.prompt, {"policy": model}, seed=0)
        assert done.error is None, done.error
        answer = done.result.answer if done.result else None
        return bool(item.verify(answer))

    return list(await asyncio.gather(*map(one, LOOKUPS[task].items(limit, 0, "lookup"))))


async def measure(contexts: list[int], limit: int) -> tuple[Right, dict[str, tuple[float, ...]]]:
    model = connect("lookup")
    found: Right = {}
    tuned: dict[str, tuple[float, ...]] = {}
    for kind in KINDS:
        prompts = [item.prompt for item in LOOKUPS[f"{kind}8"].items(64, 1, "lookup")]
        best = await tune(
            APE,
            prompts,
            model,
            tokens=2,
            temperatures=GRID,
            scales=GRID,
            seed=0,
            told=lambda done, total: None,
        )
        tuned[kind] = (best.temperature, best.scale, best.divergence, best.plain)
        t, s = tuned[kind][:2]
        ways = {**WAYS, "tuned": replace(APE, attention_temperature=t, scaling_factor=s)}
        for count in contexts:
            if f"{kind}{count}" in LOOKUPS:
                for way, method in ways.items():
                    found[kind, count, way] = await right(model, method, f"{kind}{count}", limit)
    await model.close()
    return found, tuned


def difference(way: list[bool], base: list[bool]) -> tuple[float, float, float]:
    """In points, with its 95 % interval."""
    paired = 100.0 * (np.array(way, float) - np.array(base, float))
    drawn = np.random.default_rng(0).integers(len(paired), size=(4000, len(paired)))
    low, high = np.quantile(paired[drawn].mean(1), [0.025, 0.975])
    return float(paired.mean()), float(low), float(high)


def draw(found: Right, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(1, len(KINDS), figsize=(10.5, 3), layout="constrained")
        for kind, axes in zip(KINDS, panels, strict=True):
            for way in (*WAYS, "tuned"):
                counts = [count for k, count, w in found if (k, w) == (kind, way)]
                values = [100 * np.mean(found[kind, count, way]) for count in counts]
                axes.plot(counts, values, marker="o", ms=3, label=way)
            axes.set(title=kind, xlabel="contexts of 4 facts", ylim=(0, 103))
        panels[0].set_ylabel("right, %")
        panels[-1].legend(frameon=False)
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--contexts", type=int, nargs="+", default=[1, 4, 8, 16, 30, 60])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found, tuned = asyncio.run(measure(options.contexts, options.limit))
    if options.plot:
        draw(found, options.plot)
    if options.json:
        rows = [
            {
                "kind": k,
                "contexts": n,
                "way": w,
                "right": sum(row),
                "of": len(row),
                "points": difference(row, found[k, n, "sequence"]),
            }
            for (k, n, w), row in found.items()
        ]
        print(json.dumps({"tuned": tuned, "rows": rows}))
        return
    table = Table("questions", *WAYS, "tuned")
    for kind, count in dict.fromkeys((k, n) for k, n, _ in found):
        base = found[kind, count, "sequence"]
        cells = [f"{np.mean(base):.1%}"]
        for way in (*list(WAYS)[1:], "tuned"):
            mean, low, high = difference(found[kind, count, way], base)
            cells.append(f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]")
        table.add_row(f"{kind}{count}", *cells)
    Console().print(table)
    for kind, (t, s, divergence, plain) in tuned.items():
        print(f"{kind}: T={t:g} S={s:g}, {divergence:.2g} nats for a token, {plain:.2g} at T=S=1")


if __name__ == "__main__":
    main()
