"""What a client may set of a method, and what is for whoever runs the server."""

import re
from dataclasses import fields
from typing import Any

from reason.ledger import Budget
from reason.serve.fault import Fault

LARGEST = 1 << 17
"""Of a number among the knobs of a request: methods make lists of such lengths."""
LONGEST = 1000
"""Entries of a list among them."""
_NUMBERS = re.compile(r"[\s\[\],.\d_+\-ekminfaty]*", re.IGNORECASE)
"""What a text that is read as numbers consists of: 4k, [1e3, inf]."""
OWN = {"tuned": "names a file", "calibration": "names a file", "backends": "says which models run"}
FREE = {"budget", *(field.name for field in fields(Budget))}
"""Numbers that the server's limits bound."""


def check_knobs(knobs: Any, at: str = "reason") -> None:
    """Raise Fault for knobs that are the server's own, read its files, or are too large."""
    if isinstance(knobs, dict):
        for name, value in knobs.items():
            place = f"{at}.{name}"
            if name in OWN:
                raise Fault(
                    400, f"{place} {OWN[name]}: the server's configuration does", param=place
                )
            if name == "contexts":
                _check_contexts(value, place)
            elif name not in FREE and not name.endswith("sampling"):
                check_knobs(value, place)
    elif isinstance(knobs, list):
        _check_length(len(knobs), at)
        for index, value in enumerate(knobs):
            check_knobs(value, f"{at}[{index}]")
    elif isinstance(knobs, str):
        if not _NUMBERS.fullmatch(knobs):
            return
        _check_length(knobs.count(",") + 1, at)
        for word in knobs.strip("[] ").split(","):
            _check_number(_number(word), at)
    else:
        _check_number(knobs, at)


def _check_length(entries: int, at: str) -> None:
    if entries > LONGEST:
        message = f"{at} may have {LONGEST} entries in a request, got {entries:,}"
        raise Fault(400, message, param=at)


def _check_number(value: Any, at: str) -> None:
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise Fault(400, f"{at} must be {LARGEST} at most in a request, got {value}", param=at)


def _number(word: str) -> float | None:
    """As configurations are read: 4k, 1_000, 1e3."""
    word = word.strip().lower().replace("_", "")
    scale = {"k": 1e3, "m": 1e6}.get(word[-1:], 1.0)
    try:
        return float(word[:-1] if scale > 1 else word) * scale
    except ValueError:
        return None


def _check_contexts(value: Any, at: str) -> None:
    """Raise Fault unless they are texts; @FILE would be a file of the server."""
    texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if not texts or any(each.startswith("@") for each in value):
        raise Fault(400, f"{at} must be a list of texts, none of which begins with @", param=at)
