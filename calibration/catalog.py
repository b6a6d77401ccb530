"""Every mode by the name a user gives it."""

from collections.abc import Mapping

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
