"""Every mode by the name a user gives it."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

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


def mode_at(name: str, rate: float, seen: bool = False) -> Mode:
    """The mode of that name with its own defaults, for that share of rejections. `seen`: whether it
    may judge questions of its calibration, of modes that would not."""
    mode: Callable[..., Mode] = mode_named(name)
    if name == Paper.name:
        return mode(percentile=1 - rate)
    return mode(rate=rate, seen=seen) if refuses_known(name) else mode(rate=rate)


def refuses_known(name: str) -> bool:
    """Whether the mode of that name judges no question of its calibration, unless it is `seen`."""
    kind: Any = mode_named(name)
    return any(field.name == "seen" for field in fields(kind))
