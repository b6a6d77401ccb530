"""Whether decisions kept what calibration promises: rates, shifts, clustering, and an alarm."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np

from calibration.clusters import (
    Clustering,
    Interval,
    band,
    bootstrap,
    clopper_pearson,
    clustering,
)
from calibration.conformal import Array, Reference
from calibration.groups import LEAST, Turns
from calibration.martingale import Online, wealth
from calibration.sample import Sample
from reason.errors import UsageError

LEVEL = 0.05
"""Of all tests of a shift together, by their false discovery rate."""
BINS = 20
"""Of the histogram of p-values."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One judged chunk."""

    question: str
    turn: int
    score: float
    p: float | None
    rejected: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of rejections of some chunks, at least one."""

    chunks: int
    questions: int
    rejected: int
    exact: Interval
    """95%, Clopper-Pearson: as if chunks were independent."""
    by_question: Interval | None
    """95%, bootstrap of questions; None for a single one."""
    clustering: Clustering
    """Of the rejections."""
    band: Interval | None
    """Where 95% of runs are if chunks are exchangeable; None without a calibration."""
    clustered_band: Interval | None
    """The same, with the effective numbers of chunks of run and calibration."""

    @property
    def share(self) -> float:
        return self.rejected / self.chunks


@dataclass(frozen=True, slots=True)
class Shift:
    """Kolmogorov and Smirnov's test of the scores of a turn against their calibration."""

    distance: float
    """The largest difference of the two distribution functions."""
    p: float
    """As if chunks were independent."""
    clustered_p: float
    """With the effective numbers of chunks, as the ranks of scores are clustered."""
    flagged: bool
    """Whether clustered_p is too small, among those of all turns (Benjamini & Hochberg 1995)."""


@dataclass(frozen=True, slots=True)
class Audit:
    """All that was found of some decisions, in the order they were made."""

    rate: float
    """The share of rejections that was asked for."""
    not_finite: int
    """Chunks whose score was not finite: rejected, and counted in no other figure."""
    overall: Rate
    turns: dict[int, Rate]
    shifts: dict[int, Shift]
    """Empty without a calibration."""
    histogram: tuple[int, ...]
    """p-values in bins of equal width, from 0 on."""
    alarm: int | None
    """The chunk, from 1 on, at which the martingale's wealth reached 100."""
    wealth: tuple[float, ...]
    """log10 of the martingale's wealth, chunk by chunk (calibration.martingale)."""

    def to_json(self) -> dict[str, Any]:
        """The figures; of the wealth the highest and the last."""
        found = asdict(self)
        path = found.pop("wealth")
        found["wealth"] = {"highest": max(0.0, *path), "last": path[-1]}
        found["overall"]["share"] = self.overall.share
        found["turns"] = {
            str(turn): found["turns"][turn] | {"share": of.share} for turn, of in self.turns.items()
        }
        found["shifts"] = {str(turn): shift for turn, shift in found["shifts"].items()}
        return found


def audit(
    decisions: Sequence[Decision],
    rate: float,
    calibration: Sample | None = None,
    seed: int = 0,
    least: int = LEAST,
) -> Audit:
    """Of decisions in the order they were made, of the calibration they were made with.

    A turn is compared with the calibration scores of that turn where there are `least` of them,
    as in the mode `turn`; all are with those of turn 0 where there are no others. Raises UsageError
    where no decision has a finite score.
    """
    judged = [d for d in decisions if isfinite(d.score)]
    if not judged:
        raise UsageError(
            f"none of {len(decisions)} decisions has a finite score, expected one at least"
        )
    held = calibration if calibration is not None and len(calibration) else None
    groups = Turns.of_sample(held, least) if held is not None else None
    parts: dict[str, Sample] = {}
    if held is not None and groups is not None:
        names = np.array([groups.bins.name(turn) for turn in held.turns.tolist()])
        parts = {name: held.where(names == name) for name in dict.fromkeys(names.tolist())}

    def part(turn: int) -> Sample | None:
        return parts[groups.bins.name(turn)] if groups is not None else None

    by_turn: dict[int, list[Decision]] = {}
    for decision in judged:
        by_turn.setdefault(decision.turn, []).append(decision)
    turns = {turn: _rate(by_turn[turn], rate, part(turn), seed) for turn in sorted(by_turn)}
    shifts = _shifts({turn: (by_turn[turn], part(turn)) for turn in turns})
    whole = held if len(parts) == 1 else None  # of several thresholds there is no one law
    shown = [d.p for d in judged if d.p is not None]
    jumper, path = wealth(_stream(judged, groups, parts, seed))
    return Audit(
        rate,
        len(decisions) - len(judged),
        _rate(judged, rate, whole, seed),
        turns,
        shifts,
        tuple(np.histogram(shown, BINS, (0, 1))[0].tolist()),
        jumper.alarm,
        tuple(path),
    )


def _rate(chunks: Sequence[Decision], rate: float, held: Sample | None, seed: int) -> Rate:
    flags = np.array([d.rejected for d in chunks], float)
    questions = [d.question for d in chunks]
    rejected, found = int(flags.sum()), clustering(flags, questions)
    independent = clustered = None
    if held is not None:
        independent = band(len(held), len(chunks), rate)
        above = held.scores > Reference(held.scores).threshold(rate)
        effective = clustering(above, held.questions).effective
        clustered = band(effective, found.effective, rate)
    return Rate(
        len(chunks),
        len(set(questions)),
        rejected,
        clopper_pearson(rejected, len(chunks)),
        bootstrap(flags, questions, seed),
        found,
        independent,
        clustered,
    )


def _shifts(turns: dict[int, tuple[list[Decision], Sample | None]]) -> dict[int, Shift]:
    from scipy import stats  # slow to import

    found: dict[int, tuple[float, float, float]] = {}
    for turn, (chunks, held) in turns.items():
        if held is None:
            continue
        scores: Array = np.array([d.score for d in chunks])
        test = stats.ks_2samp(held.scores, scores)
        ranks = stats.rankdata(np.concatenate((held.scores, scores)))
        one = clustering(ranks[: len(held)], held.questions).effective
        other = clustering(ranks[len(held) :], [d.question for d in chunks]).effective
        scale = sqrt(one * other / (one + other))
        clustered = float(stats.kstwobign.sf(scale * test.statistic))
        found[turn] = float(test.statistic), float(test.pvalue), clustered
    if not found:
        return {}
    adjusted = stats.false_discovery_control([clustered for *_, clustered in found.values()])
    return {
        turn: Shift(*figures, bool(p <= LEVEL))
        for (turn, figures), p in zip(found.items(), adjusted, strict=True)
    }


def _stream(
    judged: Sequence[Decision], groups: Turns | None, parts: dict[str, Sample], seed: int
) -> list[float]:
    """p-values in the order of the decisions: against the calibration and all before it, or, with
    no calibration, against those before it alone."""
    u = np.random.default_rng(seed).random(len(judged)).tolist()
    held = {name: Online(part.scores.tolist()) for name, part in parts.items()}
    alone = Online([])
    return [
        (held[groups.bins.name(d.turn)] if groups is not None else alone).p_value(d.score, draw)
        for d, draw in zip(judged, u, strict=True)
    ]
