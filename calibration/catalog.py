"""Every mode by the name a user gives it."""

from collections.abc import Callable, Mapping

from calibration.judging import Mode
from calibration.modes import ByLength, ByQuestion, ByTurn, Pooled
from calibration.online import Adaptive, AdaptiveByTurn, Window
from calibration.paper import Paper
from calibration.weighted import WeightedByTurn
from reason.settings import choose

MODES: Mapping[str, type[Mode]] = {
    "pooled": Pooled,
    "turn": ByTurn,
    "length": ByLength,
    "question": ByQuestion,
    "weighted": WeightedByTurn,
    "window": Window,
    "aci": Adaptive,
    "aci_turn": AdaptiveByTurn,
    "paper": Paper,
}


def mode_named(name: str) -> type[Mode]:
    """The class of that name. Raises UsageError naming those that exist."""
    return choose("mode of calibration", name, MODES)


def mode_at(name: str, rate: float) -> Mode:
    """The mode of that name with its own defaults, for that share of rejections."""
    mode: Callable[..., Mode] = mode_named(name)
    return mode(percentile=1 - rate) if name == Paper.name else mode(rate=rate)
