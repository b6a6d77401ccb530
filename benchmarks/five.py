"""Countdown with 5 numbers: an evaluation of APR against a serial search that makes no mistake.

    reason eval countdown5 --controller apr --limit 120 --out runs/five sampling.max_tokens=2048
    python -m benchmarks.five runs/five

Nobody trained the serial search on 5 numbers; its length follows from the grammar (rl/traces.py):
what no model that writes this search could beat.
"""

import argparse
import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from eval.countdown import generate
from eval.intervals import paired, wilson
from eval.permutation import mcnemar
from eval.samples import read_samples
from reason.errors import UsageError
from rl import traces

CONTEXTS = (256, 384, 512, 768, 1024, 2048)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(words).folder
    config = json.loads((folder / "config.json").read_text())
    if config["task"] != "countdown5" or config["repeats"] != 1:
        raise UsageError(f"{folder} is not countdown5 asked once: {config['task']}")
    rows = {row.id: row for row in read_samples(folder / "samples.jsonl").values()}
    lengths = {}
    for problem in islice(generate(5, "test", config["problems_seed"]), config["limit"]):
        trace = traces.serial(problem, 0, random.Random(0))
        lengths[str(problem)] = len(trace.context) + len(trace.written)
    table = Table("context", "APR", "ideal serial search", "APR minus serial", "p (McNemar)")
    one = np.ones(len(lengths), int)
    for context in CONTEXTS:
        x = np.array(
            [float(rows[k].correct and rows[k].longest_sequence <= context) for k in lengths]
        )
        y = np.array([float(lengths[k] <= context) for k in lengths])
        low, high = wilson(float(x.sum()), len(x))
        worst, best = paired(x, one, y, one)
        table.add_row(
            f"{context:,}",
            f"{x.mean():.3f} [{low:.3f}, {high:.3f}]",
            f"{y.mean():.3f}",
            f"{x.mean() - y.mean():+.3f} [{worst:+.3f}, {best:+.3f}]",
            f"{mcnemar(int((x > y).sum()), int((x < y).sum())):.1g}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
