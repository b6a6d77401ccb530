"""What the runner of evaluations costs: throughput against the model's own, and memory.

    python -m benchmarks.runner [--json] [--questions N] [--repeats N] [--pairs N]

Throughput: the same requests, as many at a time, put to the scripted backend by a bare client and
by `evaluate`, in turns. The model writes 16 tokens at a time, one such step taking so many ms.
Memory: an evaluation of all questions and repeats in a process of its own, then what resuming it
takes when all is there.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.paired import Interval, ratio
from controllers.single import Single
from eval.item import Item
from eval.runner import evaluate
from reason.backends.scripted import ScriptedBackend
from reason.types import SamplingParams

CONCURRENCY = 64
SAMPLES = 4_000
STEPS_MS = (20.0, 5.0, 1.0)
GOAL_RATIO = 0.9
GOAL_MEMORY = 500
"""MB."""
ANSWER = r"so they are four, which is \boxed{4}".ljust(64, ".")


def model(step: float = 0.0) -> ScriptedBackend:
    return ScriptedBackend(lambda context, params: ANSWER, chunk=16, delay=step / 1000)


def items(count: int) -> list[Item]:
    return [
        Item(str(i), "", f"What is {i}?", lambda a: None if a == "4" else "no")
        for i in range(count)
    ]


async def bare(step: float, samples: int) -> None:
    """The requests alone."""
    backend, left = model(step), iter(items(samples))
    params = SamplingParams(temperature=0.7)

    async def client() -> None:
        for item in left:
            async for _ in backend.generate(backend.encode(str(item.prompt)), params):
                pass

    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))


async def ours(step: float, samples: int, folder: Path, trees: bool, repeats: int = 1) -> None:
    """The evaluation."""
    await evaluate(
        Single(),
        items(samples),
        {"policy": model(step)},
        folder,
        config={},
        repeats=repeats,
        concurrency=CONCURRENCY,
        trees=trees,
    )


def throughput(step: float, samples: int, pairs: int, trees: bool) -> tuple[Interval, float]:
    """Our samples per second over the bare client's, and ours."""
    rates: tuple[list[float], list[float]] = ([], [])
    for pair in range(2 * pairs):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            mine = pair % 2 == 0
            asyncio.run(ours(step, samples, Path(folder), trees) if mine else bare(step, samples))
            rates[1 - mine].append(samples / (time.perf_counter() - began))
    return ratio(*rates), sorted(rates[0])[pairs // 2]


def memory(questions: int, repeats: int, trees: bool) -> dict[str, float]:
    """Peak MB of a whole evaluation, and of one that finds everything there."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("evaluating", "resuming"):
            command = [sys.executable, "-m", "benchmarks.runner", "--child", folder]
            words = [str(questions), str(repeats), str(int(trees))]
            done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
            found |= {f"{name}_{key}": value for key, value in json.loads(done.stdout).items()}
    return found


def child(folder: str, questions: str, repeats: str, trees: str) -> None:
    began = time.perf_counter()
    asyncio.run(ours(0.0, int(questions), Path(folder), trees == "1", int(repeats)))
    print(json.dumps({"peak_mb": _peak(), "seconds": time.perf_counter() - began}))


def _peak() -> float:
    """MB that this process held at most; getrusage counts those of the parent, too."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1000


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=64)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.child:
        child(*asked.child)
        return
    speeds: list[dict[str, Any]] = []
    for step in STEPS_MS:
        for trees in (False, True):
            found, rate = throughput(step, asked.samples, asked.pairs, trees)
            speeds.append(
                {
                    "step_ms": step,
                    "trees": trees,
                    "ratio": found.value,
                    "low": found.low,
                    "high": found.high,
                    "samples_per_second": rate,
                }
            )
    weight = {trees: memory(asked.questions, asked.repeats, trees) for trees in (False, True)}
    if asked.json:
        print(
            json.dumps({"speed": speeds, "memory": [{"trees": t, **m} for t, m in weight.items()]})
        )
        return
    table = Table("ms a step", "trees", f"ours / bare (goal {GOAL_RATIO})", "samples/s")
    for s in speeds:
        shown = f"{s['ratio']:.2f} ({s['low']:.2f} to {s['high']:.2f})"
        kept = "yes" if s["trees"] else "no"
        table.add_row(f"{s['step_ms']:g}", kept, shown, f"{s['samples_per_second']:,.0f}")
    console = Console()
    console.print(table)
    for trees, m in weight.items():
        console.print(
            f"{asked.questions:,} x {asked.repeats} samples, trees={str(trees).lower()}: peak "
            f"{m['evaluating_peak_mb']:.0f} MB in {m['evaluating_seconds']:.0f} s, resumed "
            f"{m['resuming_peak_mb']:.0f} MB in {m['resuming_seconds']:.0f} s "
            f"(goal {GOAL_MEMORY} MB)",
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
