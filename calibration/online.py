"""Modes with a state: every judgement changes what comes after.

The rule is frozen; each run has a judge of its own, from `start`. What it decides depends on the
order in which chunks arrive: `judge` does not wait for anything, so one event loop serialises the
calls, and whoever records them in that order can replay them. A score that is not finite is
rejected and changes nothing.
"""

from collections import deque
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

import numpy as np

from calibration.conformal import Reference, Weighted, shortage
from calibration.groups import LEAST, Groups, One, Turns, check_least
from calibration.judging import Judgement, check_rate, check_unseen, decide
from calibration.modes import Grouped
from calibration.sample import Sample
from calibration.weighted import decide_weighted


@dataclass(frozen=True)
class Window:
    """The last scores calibrate: of the sample at first, then of the chunks that were judged.

    Follows a slow drift, with a rate that is only approximate. `decay` below 1 makes a score count
    less by that factor for every one that came after it.
    """

    name: ClassVar[str] = "window"
    rate: float = 0.4
    seen: bool = False
    size: int = 500
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.size < 1:
            raise ValueError(f"size must be 1 or more, got {self.size}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, got {self.decay}")

    def fit(self, sample: Sample) -> "WindowRule":
        return WindowRule(sample, self)


@dataclass(frozen=True, eq=False)
class WindowRule:
    """The rule of Window."""

    sample: Sample
    mode: Window

    @property
    def warnings(self) -> tuple[str, ...]:
        text = shortage(min(len(self.sample), self.mode.size), self.mode.rate)
        return (text,) if text else ()

    def start(self) -> "WindowJudge":
        # the sample is in the order of scores: the oldest, who leave first, must not be the lowest
        drawn = np.random.default_rng(0).permutation(len(self.sample))[: self.mode.size]
        return WindowJudge(self, deque(self.sample.scores[drawn].tolist(), self.mode.size))


@dataclass
class WindowJudge:
    """The judge of one run, and the scores in its window, the oldest first."""

    rule: WindowRule
    window: deque[float]

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        mode = self.rule.mode
        check_unseen(self.rule.sample, question, mode.seen)
        held = np.array(self.window, float)
        if mode.decay == 1:
            found = decide(Reference.of(held), score, mode.rate, u, "window")
        else:
            weights = mode.decay ** np.arange(len(held), 0, -1, dtype=float)
            found = decide_weighted(Weighted.of(held, weights), score, mode.rate, u, "window")
        if isfinite(score):
            self.window.append(score)
        return found


@dataclass(frozen=True)
class Adaptive:
    """Adaptive conformal inference (Gibbs & Candès 2021): the rate in use follows the outcomes.

    After each judgement it moves by gamma times the rate aimed at, less 1 if the chunk was
    rejected. Of any T scores whatsoever, the share that is rejected is then at most
    (max(rate, 1 - rate) + gamma) / (gamma T) from the rate aimed at; for that the rate in use may
    leave 0..1, and all or none are rejected. The share of a single turn is not controlled.
    """

    name: ClassVar[str] = "aci"
    rate: float = 0.4
    seen: bool = False
    gamma: float = 0.01

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_gamma(self.gamma)

    def fit(self, sample: Sample) -> "AdaptiveRule":
        fixed = Grouped.of(sample, self.rate, One(), self.seen)
        return AdaptiveRule(fixed, self.gamma, by_turn=False)


@dataclass(frozen=True)
class AdaptiveByTurn:
    """Adaptive, with a rate in use for every turn, so that the share of each is controlled.

    Turns are compared with calibration scores of their own where there are `least` of them, as in
    the mode `turn`; the rates in use are never merged.
    """

    name: ClassVar[str] = "aci_turn"
    rate: float = 0.4
    seen: bool = False
    gamma: float = 0.01
    least: int = LEAST

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_gamma(self.gamma)
        check_least(self.least)

    def fit(self, sample: Sample) -> "AdaptiveRule":
        groups: Groups = Turns.of_sample(sample, self.least)
        return AdaptiveRule(
            Grouped.of(sample, self.rate, groups, self.seen), self.gamma, by_turn=True
        )


def check_gamma(gamma: float) -> None:
    """Raises ValueError for a step that is no step."""
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must be above 0 and at most 1, got {gamma}")


@dataclass(frozen=True, eq=False)
class AdaptiveRule:
    """The rule of Adaptive and AdaptiveByTurn."""

    fixed: Grouped
    gamma: float
    by_turn: bool

    @property
    def sample(self) -> Sample:
        return self.fixed.sample

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.fixed.warnings

    def start(self) -> "AdaptiveJudge":
        return AdaptiveJudge(self)


@dataclass
class AdaptiveJudge:
    """The judge of one run."""

    rule: AdaptiveRule
    rates: dict[str, float] = field(default_factory=dict)
    """The rates in use, by the name of what shares one."""

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        fixed = self.rule.fixed
        check_unseen(fixed.sample, question, fixed.seen)
        shared = f"turn {turn}" if self.rule.by_turn else "all"
        rate = self.rates.setdefault(shared, fixed.rate)
        group = fixed.groups.of(turn, length, question)
        found = decide(fixed.references[group], score, rate, u, group)
        if isfinite(score):
            self.rates[shared] = rate + self.rule.gamma * (fixed.rate - found.rejected)
        return found
