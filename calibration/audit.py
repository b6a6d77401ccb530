"""Whether decisions kept what calibration promises: rates, shifts, clustering, and an alarm."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
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
from calibration.conformal import Reference
from calibration.groups import LEAST, Turns
from calibration.martingale import Online, wealth
from calibration.sample import Sample
from calibration.shifts import Shift, shifts
from reason.errors import UsageError

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
class Alarm:
    """A test martingale on p-values (calibration.martingale)."""

    at: int | None
    """The chunk, from 1 on, at which its wealth reached 100."""
    turn: int | None
    """The turn of that chunk."""
    highest: float
    """log10 of its highest wealth."""
    wealth: tuple[float, ...]
    """log10 of its wealth after each chunk."""


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
    as_made: Alarm
    """In the order of the decisions. Chunks of a question that stand together raise it too."""
    turn_by_turn: Alarm
    """The first turn's chunks in random order, then the second's, …: that breaks up questions, so
    what it is raised by is a turn that differs from those before it, or from the calibration."""

    def to_json(self) -> dict[str, Any]:
        """The figures, without the wealth chunk by chunk."""
        found = asdict(self)
        for alarm in (found["as_made"], found["turn_by_turn"]):
            del alarm["wealth"]
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
    against = {
        turn: (np.array([d.score for d in chunks]), [d.question for d in chunks], found)
        for turn, chunks in sorted(by_turn.items())
        if (found := part(turn)) is not None
    }
    whole = held if len(parts) == 1 else None  # of several thresholds there is no one law
    shown = [d.p for d in judged if d.p is not None]
    shuffled = np.random.default_rng(seed).permutation(len(judged)).tolist()
    sorted_turns = sorted((judged[i] for i in shuffled), key=lambda d: d.turn)
    return Audit(
        rate,
        len(decisions) - len(judged),
        _rate(judged, rate, whole, seed),
        turns,
        shifts(against),
        tuple(np.histogram(shown, BINS, (0, 1))[0].tolist()),
        _alarm(judged, groups, parts, seed),
        _alarm(sorted_turns, groups, parts, seed),
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
        clustered = band(len(held), found.effective, rate, effective)
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


def _alarm(
    judged: Sequence[Decision], groups: Turns | None, parts: dict[str, Sample], seed: int
) -> Alarm:
    """On p-values in that order: of each chunk against the calibration and all before it, or, with
    no calibration, against those before it alone."""
    u = np.random.default_rng(seed).random(len(judged)).tolist()
    held = {name: Online(part.scores.tolist()) for name, part in parts.items()}
    alone = Online([])
    jumper, path = wealth(
        (held[groups.bins.name(d.turn)] if groups is not None else alone).p_value(d.score, draw)
        for d, draw in zip(judged, u, strict=True)
    )
    turn = None if jumper.alarm is None else judged[jumper.alarm - 1].turn
    return Alarm(jumper.alarm, turn, jumper.highest, tuple(path))
