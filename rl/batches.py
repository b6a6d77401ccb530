"""Training batches: examples sorted into buckets by length, so that rows hardly need padding.

Data comes in blocks, each a function of (seed, stage, block) alone: a run resumes at any block
without replaying what came before it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rl.traces import Example, Mixture, examples
from rl.vocabulary import ID

IGNORE = -100
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `labels`, both [rows, length]; a label of -100 is not trained on."""

    inputs: Ints
    labels: Ints
    tokens: int
    """Real tokens, padding excluded."""


def buckets(size: int) -> list[int]:
    """Row lengths that fill a batch of `size` tokens exactly: divisors from 24 up."""
    return [n for n in range(24, size + 1) if size % n == 0]


def block(mixture: Mixture, size: int, batches: int, seed: str) -> Iterator[Batch]:
    """`batches` shuffled batches of `size` tokens; examples too long for a row are left out."""
    lengths = buckets(size)
    waiting: dict[int, list[Example]] = {n: [] for n in lengths}
    ready: list[tuple[int, list[Example]]] = []
    for example in examples(mixture, seed):
        needed = len(example.context) + len(example.written) - 1
        length = next((n for n in lengths if n >= needed), None)
        if length is None:
            continue
        rows = waiting[length]
        rows.append(example)
        if len(rows) * length == size:
            ready.append((length, rows))
            waiting[length] = []
            if len(ready) == batches:
                break
    random.Random(f"order/{seed}").shuffle(ready)
    for length, rows in ready:
        yield _batch(length, rows)


def _batch(length: int, rows: list[Example]) -> Batch:
    inputs = np.full((len(rows), length), ID["<pad>"], np.int64)
    labels = np.full((len(rows), length), IGNORE, np.int64)
    tokens = 0
    for row, example in enumerate(rows):
        ids = np.array([ID[word] for word in example.context + example.written])
        start, end = len(example.context) - 1, len(ids) - 1
        inputs[row, :end] = ids[:-1]
        labels[row, start:end] = ids[start + 1 :]
        tokens += len(ids)
    return Batch(inputs, labels, tokens)
