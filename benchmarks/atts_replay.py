"""What waiting costs ATTS where a model's step takes the same time at any load, as on a GPU.

    python -m benchmarks.atts_replay FOLDER [--chains 16] [--cost 1 2 4]

From the decisions of an evaluation of atts with its thread trees: every chunk's tokens, and who
wrote them. A token of the draft takes one unit of time, one of the target `--cost`; a chunk is
scored in the time of one token of the target. Without barriers a chain takes the sum of what it
does; with them each draft, score and take-over takes as long as that of the slowest chain. Chains
of problems are put together until there are `--chains`. The ratio is of the time until the last
chain has ended, medians over such sets with bootstrap intervals; nothing is said of queues, or of
batches that are slower when they are larger.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.paired import ratio
from controllers.atts import DECISION
from eval.trees import NAME, read_trees
from reason.events import Noted, Opened, Tokens

Turn = tuple[int, int]
"""Tokens of the draft, and of the target."""


def chains_of(folder: Path) -> list[list[Turn]]:
    """Every chain of the evaluation, turn by turn."""
    found: list[list[Turn]] = []
    for tree in read_trees(folder / NAME):
        model: dict[str, str] = {}
        drafted: dict[str, int] = defaultdict(int)
        turns: dict[str, list[list[int]]] = defaultdict(list)
        for event in tree.events:
            if isinstance(event, Opened):
                model[event.thread] = event.model
            elif isinstance(event, Noted) and event.name == DECISION:
                chain = ".".join(event.thread.split(".")[:2])
                turns[chain].append([drafted.pop(chain, 0), 0])
            elif isinstance(event, Tokens) and event.origin == "sampled":
                chain = ".".join(event.thread.split(".")[:2])
                if model[event.thread] == "target":
                    turns[chain][-1][1] += len(event.ids)
                else:
                    drafted[chain] += len(event.ids)
        found += [[(draft, target) for draft, target in each] for each in turns.values()]
    return found


def without_barriers(chains: list[list[Turn]], cost: float) -> float:
    return max(sum(draft + cost + cost * target for draft, target in chain) for chain in chains)


def with_barriers(chains: list[list[Turn]], cost: float) -> float:
    total = 0.0
    for turn in range(max(map(len, chains))):
        now = [chain[turn] for chain in chains if turn < len(chain)]
        total += max(draft for draft, _ in now) + cost + cost * max(target for _, target in now)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of an evaluation of atts")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--cost", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    options = parser.parse_args()
    chains = chains_of(options.folder)
    size = options.chains
    sets = [chains[at : at + size] for at in range(0, len(chains) - size + 1, size)]
    shown = Table(title=f"{len(sets)} sets of {size} chains", title_justify="left")
    for column in ("a token of the target by one of the draft", "with barriers / without"):
        shown.add_column(column, justify="right")
    for cost in options.cost:
        slow = [with_barriers(each, cost) for each in sets]
        fast = [without_barriers(each, cost) for each in sets]
        found = ratio(slow, fast)
        shown.add_row(f"{cost:g}", f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
    Console().print(shown)


if __name__ == "__main__":
    main()
