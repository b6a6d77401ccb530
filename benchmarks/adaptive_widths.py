r"""Runs from which the Countdown model learns to spawn few children where few are enough.

    reason eval countdown4_train:2 --limit 2000 --problems-seed 7 -c apr width=2 \
        sampling.temperature=1 --trees --out runs/w2       # and :4, width=4, runs/w4
    python -m benchmarks.adaptive_widths runs/w2 runs/w4 --out adaptive.jsonl
    reason train trees adaptive.jsonl --out runs/adaptive sft.num_train_epochs=3 \
        sft.learning_rate=3e-4

Of each problem the smallest width at which every sample was right, else the largest at which any
was; of these samples the cheapest, as if it had been asked for with the largest width: what was
chosen is then the model's own choice. Cost is total tokens and twice the critical path.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from eval.folders import Evaluation, read_evaluations
from eval.samples import Sample
from eval.trees import read_trees
from reason.tree import ThreadTree
from rl.requests import requests_of
from rl.vocabulary import ID

Choice = tuple[int, Sample]
"""The evaluation, by its place, and the sample."""


def choose(evaluations: Sequence[Evaluation]) -> dict[str, Choice]:
    """By problem; `evaluations` are in the order of their widths."""
    rows: dict[str, list[list[Sample]]] = defaultdict(lambda: [[] for _ in evaluations])
    for place, evaluation in enumerate(evaluations):
        for row in evaluation.rows:
            rows[row.id][place].append(row)
    found = {}
    for problem, by_width in rows.items():
        for place, samples in enumerate(by_width):
            right = [row for row in samples if row.correct]
            last = place == len(by_width) - 1
            if right and (last or len(right) == len(samples) > 1):
                cheapest = min(right, key=lambda row: row.total_tokens + 2 * row.critical_path)
                found[problem] = (place, cheapest)
                break
    return found


def asked_for(context: Sequence[int], width: int) -> list[int]:
    """The context of a root as if it had been asked for so many children; of a child as it is."""
    ids = list(context)
    if ids[:2] == [ID["<bos>"], ID["<par>"]]:
        ids[ids.index(ID["<go>"]) - 1] = ID[str(width)]
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="evaluations, by rising width")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    evaluations = read_evaluations(options.folders)
    widest = evaluations[-1].config["controller"]["width"]
    chosen = choose(evaluations)
    lines = []
    for place, evaluation in enumerate(evaluations):
        assert evaluation.trees is not None, "evaluate with --trees"
        for kept in read_trees(evaluation.trees):
            taken, row = chosen.get(kept.id, (-1, None))
            if row is None or taken != place or row.repeat != kept.repeat:
                continue
            requests = [
                {"context": asked_for(r.context, widest), "sampled": list(r.sampled)}
                for r in requests_of(ThreadTree.replay(kept.events))
            ]
            lines.append(json.dumps({"requests": requests}))
    random.Random(0).shuffle(lines)
    options.out.write_text("\n".join(lines) + "\n")
    count = Counter(place for place, _ in chosen.values())
    shares = ", ".join(f"{count[n]} of {e.path.name}" for n, e in enumerate(evaluations))
    print(f"{len(lines)} runs: {shares}")


if __name__ == "__main__":
    main()
