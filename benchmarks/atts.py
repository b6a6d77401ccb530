"""What waiting costs: ATTS against itself with barriers, and against the target alone.

    python -m benchmarks.atts --calibration FILE [--draft SPEC] [--target SPEC] [KEY=VALUE …]

One problem at a time, with `--chains` chains, three ways in turn: without barriers, with them (real
scores and the same decisions: `synchronous=true`), and a vote of as many chains of the target. The
models are servers of SGLang, which are started unless they are given. KEY=VALUE sets fields of
atts; the calibration must be of the same models and options. Ratios of wall clock are medians over
problems, with bootstrap intervals.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.paired import Interval, ratio
from benchmarks.sglang import PYTHON, ROOT
from controllers.atts import AsyncScaling
from controllers.self_consistency import SelfConsistency
from eval.countdown import generate
from eval.item import Item
from eval.tasks import countdown_item
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.config import build, parse_words
from reason.run import Controller, solve

MODELS = ROOT / "reason" / "models"
LAUNCH = "sglang://launch?model={model}&python={python}&device=cpu&max_running_requests=64"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way on one problem."""

    seconds: float
    tokens: int
    target_tokens: int
    right: bool


async def once(method: Controller, item: Item, models: Mapping[str, Backend], seed: int) -> Outcome:
    """Solve the problem. Raises what the run failed of."""
    run = await solve(method, item.prompt, models, seed=seed)
    if run.failure:
        raise run.failure
    assert run.result
    spent = run.result.extra.get("target_tokens", run.ledger.total_tokens)
    right = bool(run.result.answer and item.verify(run.result.answer))
    return Outcome(run.ledger.seconds, run.ledger.total_tokens, int(spent), right)


async def measure(
    method: AsyncScaling, models: Mapping[str, Backend], problems: int, seed: int
) -> dict[str, list[Outcome]]:
    """All ways on all problems, who goes first changing from one to the next."""
    target = models["target"]
    sampling = (method.target_sampling or method.sampling).but(max_tokens=2000)
    alone = SelfConsistency(n=method.n, width=method.width, syntax=method.syntax, sampling=sampling)
    ways: dict[str, tuple[Controller, Mapping[str, Backend]]] = {
        "asynchronous": (method, models),
        "synchronous": (replace(method, synchronous=True), models),
        "target alone": (alone, {"policy": target}),
    }
    found: dict[str, list[Outcome]] = {name: [] for name in ways}
    for number, problem in enumerate(islice(generate(4, "test", seed), problems)):
        item = countdown_item(problem, "countdown")
        order = [*ways][number % 3 :] + [*ways][: number % 3]
        for name in order:
            controller, backends = ways[name]
            found[name].append(await once(controller, item, backends, number))
        print(f"{number + 1}/{problems}", file=sys.stderr)
    return found


def summary(found: Mapping[str, list[Outcome]]) -> dict[str, Interval]:
    """Of each other way to the asynchronous one."""
    ours = [outcome.seconds for outcome in found["asynchronous"]]
    return {
        name: ratio([outcome.seconds for outcome in outcomes], ours)
        for name, outcomes in found.items()
        if name != "asynchronous"
    }


def table(found: Mapping[str, list[Outcome]]) -> Table:
    shown = Table(title="Seconds a problem; times as long as asynchronous", title_justify="left")
    for column in ("way", "problems", "right", "tokens", "of the target", "seconds", "ratio"):
        shown.add_column(column, justify="right")
    ratios = summary(found)
    for name, outcomes in found.items():
        count, ratio_ = len(outcomes), ratios.get(name)
        shown.add_row(
            name,
            str(count),
            str(sum(outcome.right for outcome in outcomes)),
            f"{sum(outcome.tokens for outcome in outcomes) / count:,.0f}",
            f"{sum(outcome.target_tokens for outcome in outcomes) / count:,.0f}",
            f"{sum(outcome.seconds for outcome in outcomes) / count:.2f}",
            f"{ratio_.value:.2f} [{ratio_.low:.2f}, {ratio_.high:.2f}]" if ratio_ else "",
        )
    return shown


async def run(options: argparse.Namespace) -> dict[str, list[Outcome]]:
    knobs = parse_words(options.settings)
    fixed = {"calibration": options.calibration, "n": options.chains, "syntax": "countdown"}
    method = build(AsyncScaling, {**knobs, **fixed})
    models = {
        "policy": connect(options.draft, lambda line: print(line, file=sys.stderr)),
        "target": connect(options.target, lambda line: print(line, file=sys.stderr)),
    }
    try:
        return await measure(method, models, options.problems, options.seed)
    finally:
        for model in models.values():
            await model.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for role, name in (("draft", "countdown-draft"), ("target", "countdown-apr")):
        spec = LAUNCH.format(model=MODELS / name, python=PYTHON)
        parser.add_argument(f"--{role}", default=spec, help="backend; else a server is started")
    parser.add_argument("--calibration", default="", help="of reason calibrate")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--out", type=Path, help="file for every outcome, as JSON")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="fields of atts")
    options = parser.parse_intermixed_args()
    found = asyncio.run(run(options))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: [asdict(outcome) for outcome in each] for name, each in found.items()}
        options.out.write_text(json.dumps({"command": sys.argv, "ways": rows}, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))


if __name__ == "__main__":
    main()
