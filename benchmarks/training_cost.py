"""What a step of GRPO costs and who waits for whom: rollouts in turn, on servers, and ahead.

    python -m benchmarks.training_cost [--steps 8] [--model PATH] [--device cpu] [--out FILE]

The recipe apr_countdown with as many rollouts to an update in each way: sampled by a copy of the
model in the trainer's process; by a server of SGLang, in turn with the updates; and by that server
while the trainer computes (`ahead`). Of each the median step after the first: seconds, tokens
sampled in a second of sampling, tokens trained in a second of computing, and the share of the step
in which the trainer waited for rollouts. Ahead of the trainer, groups of which all are worth the
same are not trained. Where server and trainer share the cores, running ahead gains little.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from eval.manifest import session
from reason.backends.sglang_launch import ServerProcess

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "reason" / "models" / "countdown-apr"
PYTHON = os.environ.get("REASON_SGLANG_PYTHON", str(ROOT / ".venv-sglang" / "bin" / "python"))
SAME = ("evaluate_every=0", "grpo.logging_steps=1", "concurrency=64")
IN_TURN = (
    "apr_countdown",
    "grpo.per_device_train_batch_size=32",
    "grpo.gradient_accumulation_steps=2",
)
AHEAD = ("async_countdown", "rounds=1", "ahead=8", "grpo.gradient_accumulation_steps=1")
READY = 300.0
"""Seconds that a server may take to start."""

Row = Mapping[str, float]


def train(words: Sequence[str], steps: int, model: str, folder: Path) -> list[Row]:
    """The log of a run of `reason train grpo`, each step once."""
    command = [sys.executable, "-m", "reason.cli", "train", "grpo", *words, *SAME]
    command += [f"model={model}", f"grpo.max_steps={steps}", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "reward" in row]


def in_turn(rows: Sequence[Row]) -> Row:
    """Figures of the median step: rollouts, then the update."""
    found = []
    for row in rows[1:]:
        step, rollouts = row["step_time"], row["perf/rollout_s"]
        tokens = row["perf/rollout_tok_s"] * rollouts
        found.append((step, row["perf/rollout_tok_s"], tokens / (step - rollouts), rollouts / step))
    return _medians(found)


def ahead(rows: Sequence[Row]) -> Row:
    """Figures of the median step of TRL's asynchronous trainer, as it tells them."""
    found = []
    for row in rows[1:]:
        step = row["perf/step_s"]
        trained = row["perf/trained_tok_s_wall_clock"] * step
        found.append(
            (step, float("nan"), trained / row["perf/fwd_bwd_s"], row["perf/rollout_wait_s"] / step)
        )
    return _medians(found)


def _medians(found: Sequence[Sequence[float]]) -> Row:
    names = ("step s", "sampled tok/s", "trained tok/s", "waiting")
    return {
        name: median(values) for name, values in zip(names, zip(*found, strict=True), strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--device", default="cpu", help="of the server: cpu or cuda")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.steps < 2:
        parser.error(f"--steps must be 2 or more, got {asked.steps}")
    options = {"device": asked.device, "max_running_requests": "64"}
    figures: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["a copy, in turn"] = in_turn(
            train(IN_TURN, asked.steps, asked.model, folder / "copy")
        )
        server = ServerProcess(asked.model, PYTHON, options)
        try:
            server.wait(READY, lambda _: None)
            backend = f"backend=sglang://{server.url.removeprefix('http://')}"
            words = [*IN_TURN, backend]
            figures["a server, in turn"] = in_turn(
                train(words, asked.steps, asked.model, folder / "turn")
            )
            words = [*AHEAD, backend]
            figures["a server, ahead"] = ahead(
                train(words, asked.steps, asked.model, folder / "ahead")
            )
        finally:
            server.stop()
    table = Table("rollouts by", "step s", "sampled tok/s", "trained tok/s", "waiting")
    for way, row in figures.items():
        step, sampled, trained, waiting = row.values()
        told = "-" if isnan(sampled) else f"{sampled:,.0f}"
        table.add_row(way, f"{step:.2f}", told, f"{trained:,.0f}", f"{waiting:.0%}")
    Console().print(table)
    if asked.out:
        asked.out.write_text(json.dumps({"session": session({}), "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
