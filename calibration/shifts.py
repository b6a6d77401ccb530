"""Whether the scores of a turn are distributed as those that calibrate it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from calibration.clusters import clustering
from calibration.conformal import Array
from calibration.sample import Sample

LEVEL = 0.05
"""Of all turns together, by the false discovery rate."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Kolmogorov and Smirnov's test of the scores of a turn against their calibration."""

    distance: float
    """The largest difference of the two distribution functions."""
    p: float
    """As if chunks were independent."""
    clustered_p: float
    """At the effective numbers of chunks, with the clustering of the ranks of scores."""
    flagged: bool
    """Whether clustered_p is too small, among those of all turns (Benjamini & Hochberg 1995)."""


def shifts(turns: Mapping[int, tuple[Array, Sequence[str], Sample]]) -> dict[int, Shift]:
    """Of each turn, from its finite scores, their questions, and what calibrates it."""
    from scipy import stats  # slow to import

    if not turns:
        return {}
    found: dict[int, tuple[float, float, float]] = {}
    for turn, (scores, questions, held) in turns.items():
        test = stats.ks_2samp(held.scores, scores)
        ranks = stats.rankdata(np.concatenate((held.scores, scores)))
        one = clustering(ranks[: len(held)], held.questions).effective
        other = clustering(ranks[len(held) :], questions).effective
        # the asymptotic law, as effective numbers are no whole numbers
        clustered = stats.kstwobign.sf(sqrt(one * other / (one + other)) * test.statistic)
        found[turn] = float(test.statistic), float(test.pvalue), float(clustered)
    adjusted = stats.false_discovery_control([clustered for *_, clustered in found.values()])
    return {
        turn: Shift(*figures, bool(p <= LEVEL))
        for (turn, figures), p in zip(found.items(), adjusted, strict=True)
    }
