"""Training batches: examples sorted into buckets by length, so that rows hardly need padding.

Data comes in blocks, each a function of (seed, stage, block) alone: a run resumes at any block
without replaying what came before it.
"""

import random
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reason.errors import UsageError
from rl.examples import examples
from rl.lookup import lookups
from rl.recipe import SHORTEST, LookupMixture, Mixture
from rl.traces import Example
from rl.vocabulary import LANGUAGES

IGNORE = -100
PATIENCE = 500
"""Examples in a row that fit no row after which there are taken to be none that do."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `labels`, both [rows, length]; a label of -100 is not trained on."""

    inputs: Ints
    labels: Ints
    tokens: int
    """Real tokens, padding excluded."""


def buckets(size: int) -> list[int]:
    """Row lengths that fill a batch of `size` tokens exactly: divisors from SHORTEST up."""
    return [n for n in range(SHORTEST, size + 1) if size % n == 0]


Data = Mixture | LookupMixture


def fitting(mixture: Data, size: int, seed: str) -> Iterator[tuple[int, Example]]:
    """Examples and the rows they go into; those too long for any row are left out.

    Raises UsageError when there seem to be none.
    """
    lengths = buckets(size)
    in_vain = 0
    drawn = (
        lookups(mixture, seed) if isinstance(mixture, LookupMixture) else examples(mixture, seed)
    )
    for example in drawn:
        needed = len(example.context) + len(example.written) - 1
        place = bisect_left(lengths, needed)
        if place < len(lengths):
            in_vain = 0
            yield lengths[place], example
            continue
        in_vain += 1
        if in_vain == PATIENCE:
            raise UsageError(
                f"batch is {size}, too small for the mixture: of {PATIENCE} examples none fits, "
                f"and the last has {needed} tokens; give a larger batch"
            )


def block(mixture: Data, size: int, batches: int, seed: str) -> Iterator[Batch]:
    """`batches` shuffled batches of `size` tokens."""
    waiting: dict[int, list[Example]] = {n: [] for n in buckets(size)}
    ready: list[tuple[int, list[Example]]] = []
    found = fitting(mixture, size, seed)
    while len(ready) < batches:
        length, example = next(found)
        rows = waiting[length]
        rows.append(example)
        if len(rows) * length == size:
            ready.append((length, rows))
            waiting[length] = []
    random.Random(f"order/{seed}").shuffle(ready)
    ids = LANGUAGES["lookup" if isinstance(mixture, LookupMixture) else "countdown"]
    for length, rows in ready:
        yield _batch(length, rows, ids)


def _batch(length: int, rows: list[Example], words: Mapping[str, int]) -> Batch:
    inputs = np.full((len(rows), length), words["<pad>"], np.int64)
    labels = np.full((len(rows), length), IGNORE, np.int64)
    tokens = 0
    for row, example in enumerate(rows):
        ids = np.array([words[word] for word in example.context + example.written])
        start, end = len(example.context) - 1, len(ids) - 1
        inputs[row, :end] = ids[:-1]
        labels[row, start:end] = ids[start + 1 :]
        labels[row, [start + place for place in example.silent]] = IGNORE
        tokens += len(ids)
    return Batch(inputs, labels, tokens)
