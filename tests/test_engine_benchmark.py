import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_benchmark_runs_and_reports_every_figure() -> None:
    command = [sys.executable, "-m", "benchmarks.engine", "--json", "--tokens", "16000"]
    done = subprocess.run(
        [*command, "--repeat", "1"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout)
    rows = [(s["chunk"], s["recorded"], s["threads"]) for s in figures["speed"]]
    assert rows == [(c, r, t) for c in (8, 1) for r in (False, True) for t in (1, 10, 100, 1000)]
    assert all(s["tokens_per_second"] > 0 and s["ns_per_token"] > 0 for s in figures["speed"])
    assert figures["memory"]["threads"] == 1000
    # No time is asserted, but what threads weigh does not depend on who else is at work.
    assert 0 < figures["memory"]["megabytes"] < 200
