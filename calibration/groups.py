"""Which calibration scores a chunk is compared with: the groups of Mondrian conformal prediction.

Within a group the rate holds of the group itself (Vovk et al. 2005, "Algorithmic Learning in a
Random World", 4.5); the price is a grid of 1/(n+1) with the n of the group.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.sample import Sample
from reason.errors import UsageError

LEAST = 50
"""Scores that a group has at least, unless all together have fewer."""

Whole = NDArray[np.int64]


def check_least(least: int) -> None:
    """Raises ValueError for groups that may be empty."""
    if least < 1:
        raise ValueError(f"least must be 1 or more, got {least}")


class Groups(Protocol):
    """Names the group of a chunk."""

    def of(self, turn: int, length: int, question: str) -> str: ...


@dataclass(frozen=True, slots=True)
class One:
    """All are of one group."""

    def of(self, turn: int, length: int, question: str) -> str:
        return "all"


@dataclass(frozen=True, slots=True)
class Bins:
    """Neighbouring whole numbers together: a bin reaches from its start to the next bin's."""

    starts: tuple[int, ...]
    unit: str

    @classmethod
    def of_values(cls, values: Whole, starts: Sequence[int], least: int, unit: str) -> "Bins":
        """The bins of these starts, those with fewer than `least` of the values merged.

        From the lowest on, a bin takes in the next ones until it has enough; what is left at the
        end joins the last that has. The first bin begins at 0 and the last has no end, so every
        value, also one that was never seen, has a bin.
        """
        kept: list[int] = []
        ascending = sorted({0, *starts})
        enough = True
        held = 0
        for start, stop in zip(ascending, [*ascending[1:], None], strict=True):
            if enough:
                kept.append(start)
                held = 0
            held += int(((values >= start) & (stop is None or values < stop)).sum())
            enough = held >= least
        if not enough and len(kept) > 1:
            kept.pop()
        return cls(tuple(kept), unit)

    def name(self, value: int) -> str:
        """Such as "turn 0", "turns 4-6" and, the last one, "turns 10+"."""
        place = max(bisect_right(self.starts, value) - 1, 0)
        start = self.starts[place]
        if place + 1 == len(self.starts):
            return f"{self.unit}s {start}+"
        last = self.starts[place + 1] - 1
        return f"{self.unit} {start}" if start == last else f"{self.unit}s {start}-{last}"


@dataclass(frozen=True, slots=True)
class Turns:
    """By turn."""

    bins: Bins

    @classmethod
    def of_sample(cls, sample: Sample, least: int = LEAST) -> "Turns":
        seen = np.unique(sample.turns).tolist()
        return cls(Bins.of_values(sample.turns, seen, least, "turn"))

    def of(self, turn: int, length: int, question: str) -> str:
        return self.bins.name(turn)


@dataclass(frozen=True, slots=True)
class Lengths:
    """By tokens of the chunk, in bins of about equally many calibration scores."""

    bins: Bins

    @classmethod
    def of_sample(cls, sample: Sample, bins: int, least: int = LEAST) -> "Lengths":
        shares = np.arange(1, bins) / bins
        cuts = np.quantile(sample.lengths, shares, method="higher") if len(sample) else shares[:0]
        starts = np.unique(cuts).astype(int).tolist()
        return cls(Bins.of_values(sample.lengths, starts, least, "token"))

    def of(self, turn: int, length: int, question: str) -> str:
        return self.bins.name(length)


@dataclass(frozen=True, slots=True)
class Questions:
    """Every question is a group of its own."""

    known: frozenset[str]

    def of(self, turn: int, length: int, question: str) -> str:
        if question not in self.known:
            raise UsageError(
                f"question {question!r} has no scores in the calibration of {len(self.known)} "
                "questions: calibrate on it first, or choose a mode that pools questions"
            )
        return f"question {question}"
