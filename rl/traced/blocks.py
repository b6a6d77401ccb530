"""Which neighbouring steps can be done at the same time, and are worth it.

Lian et al. 2025, appendix C, steps 1 and 2: threads are ranges of neighbouring steps with no
dependency from one to another, and a block that saves little stays as it is. Which blocks there are
is not left to the teacher: they are those that together save most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rl.traced.analysis import Step

WIDEST = 64
"""Most steps of one block; what is looked through grows with its square."""
Range = tuple[int, int]
"""Steps from the first up to the second, which is not part of it."""


@dataclass(frozen=True)
class Worth:
    """What makes a block worth its tags. Lengths are in characters."""

    saving: int = 200
    """What a block must save: the length of its threads less that of the longest."""
    shortest: int = 80
    """A thread that would be shorter becomes part of its shorter neighbour."""
    threads: int = 8
    """Most threads of a block; beyond, the shortest neighbours become one."""
    blocks: int = 8
    """Most blocks of a chain, those that save most; as `blocks` of the method that will run."""

    def __post_init__(self) -> None:
        for name, least in (("saving", 1), ("shortest", 1), ("threads", 2), ("blocks", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


def blocks_of(steps: Sequence[Step], lengths: Sequence[int], worth: Worth) -> list[list[Range]]:
    """The blocks of a chain, in order, each by the steps of its threads.

    `lengths` are those of the steps. No step is in two blocks.
    """
    best: list[tuple[int, list[list[Range]]]] = [(0, [])]  # for the first so many steps
    ending: dict[int, list[tuple[int, int, list[Range]]]] = {}
    for start in range(len(steps)):
        for threads in _from(start, steps, lengths, worth):
            sizes = [sum(lengths[a:b]) for a, b in threads]
            saved = sum(sizes) - max(sizes)
            if len(threads) > 1 and saved >= worth.saving:
                ending.setdefault(threads[-1][1], []).append((start, saved, threads))
    for end in range(1, len(steps) + 1):
        choice = best[-1]
        for start, saved, threads in ending.get(end, ()):
            if best[start][0] + saved > choice[0]:
                choice = best[start][0] + saved, [*best[start][1], threads]
        best.append(choice)
    found = best[-1][1]
    kept = sorted(found, key=lambda threads: -_saved(threads, lengths))[: worth.blocks]
    return [threads for threads in found if threads in kept]


def _saved(threads: Sequence[Range], lengths: Sequence[int]) -> int:
    sizes = [sum(lengths[a:b]) for a, b in threads]
    return sum(sizes) - max(sizes)


def _from(
    start: int, steps: Sequence[Step], lengths: Sequence[int], worth: Worth
) -> Iterator[list[Range]]:
    """Every block that begins with this step, cut into as many threads as there can be."""
    cuts: list[int] = []  # steps before which nothing goes on: no dependency goes over them
    for step in range(start, min(len(steps), start + WIDEST)):
        if step > start:
            cuts.append(step)
        within = [use for use in steps[step].uses if use >= start]
        while cuts and within and cuts[-1] > min(within):
            cuts.pop()
        if cuts:
            edges = [start, *cuts, step + 1]
            yield _merged(list(pairwise(edges)), lengths, worth)


def _merged(threads: list[Range], lengths: Sequence[int], worth: Worth) -> list[Range]:
    """The same with threads put together that are too short, or too many."""
    sizes = [sum(lengths[a:b]) for a, b in threads]
    while len(threads) > 1 and (min(sizes) < worth.shortest or len(threads) > worth.threads):
        at = sizes.index(min(sizes))
        sides = [side for side in (at - 1, at + 1) if 0 <= side < len(threads)]
        left = min(at, min(sides, key=lambda side: sizes[side]))
        threads[left : left + 2] = [(threads[left][0], threads[left + 1][1])]
        sizes[left : left + 2] = [sizes[left] + sizes[left + 1]]
    return threads
