"""What an evaluation weighs does not depend on who else is at work."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.runner import CONCURRENCY, GOAL_MEMORY, STEPS_MS, memory

ROOT = Path(__file__).parent.parent
WHOLE = 10_000 * 64


def test_samples_weigh_little_and_more_of_them_no_more_each() -> None:
    small, large = (memory(questions, 64, trees=True) for questions in (100, 1000))
    for what in ("evaluating", "resuming"):
        more = large[f"{what}_peak_mb"] - small[f"{what}_peak_mb"]
        whole = small[f"{what}_peak_mb"] + more / (900 * 64) * WHOLE
        assert more > 0 and whole < GOAL_MEMORY, f"{what}: {whole:.0f} MB"


def test_the_benchmark_reports_every_figure() -> None:
    command = [sys.executable, "-m", "benchmarks.runner", "--json", "--samples", str(CONCURRENCY)]
    sizes = ["--questions", "10", "--repeats", "2", "--pairs", "1"]
    done = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    rows = [(row["step_ms"], row["trees"]) for row in found["speed"]]
    assert rows == [(step, trees) for step in STEPS_MS for trees in (False, True)]
    assert all(0 < r["low"] <= r["ratio"] <= r["high"] for r in found["speed"])
    assert [row["trees"] for row in found["memory"]] == [False, True]
