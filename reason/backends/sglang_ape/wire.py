"""What a client and the plug-in say to each other: in `custom_params`, and in errors.

A query says `{"reason_ape": {"prefix": 4, "contexts": [9, 7], "temperature": 0.9, "scale": 0.9}}`,
and its ids are prefix, contexts and the rest, one after another. A request that encodes a context,
whose ids are prefix and context, says `{"reason_ape": {"warm": true}}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reason.types import Layout

NAME = "reason_ape"
"""Of the plug-in, its flag's value, and the key in `custom_params`."""
WARM: Mapping[str, Any] = {NAME: {"warm": True}}
STATUS = 409
"""Of the answer to a query whose contexts are not all in the cache."""
NAMED = 64
"""Contexts that such an answer names at most."""
_LOST = re.compile(rf"{NAME} missing (\[[\d, ]*\])")


def query(layout: Layout) -> dict[str, Any]:
    """`custom_params` of a query."""
    return {
        NAME: {
            "prefix": layout.prefix,
            "contexts": list(layout.contexts),
            "temperature": layout.temperature,
            "scale": layout.scale,
        }
    }


def layout_of(said: object) -> Layout:
    """Where the contexts of a query stand. Raises ValueError for what is no layout."""
    if not isinstance(said, dict):
        raise ValueError(f"expected an object, got {said!r}")
    prefix, contexts = said.get("prefix"), said.get("contexts")
    if type(prefix) is not int or not isinstance(contexts, list):
        raise ValueError("expected a number `prefix` and a list `contexts`")
    factors = said.get("temperature", 1.0), said.get("scale", 1.0)
    if any(type(n) is not int for n in contexts) or not all(map(_number, factors)):
        raise ValueError("expected numbers of tokens in `contexts`, and numbers for T and S")
    return Layout(prefix, tuple(contexts), *map(float, factors))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def missing(contexts: Sequence[int]) -> str:
    """The error of a query some of whose contexts, counted from 0, are not in the cache."""
    return (
        f"{NAME} missing {list(contexts[:NAMED])}: these contexts, counted from 0, are not in the "
        "cache; send each as a request of its own, prefix + context, and then the query again"
    )


def lost(message: str) -> tuple[int, ...] | None:
    """The contexts that an error names, if it is of this kind."""
    found = _LOST.search(message)
    return tuple(json.loads(found[1])) if found else None
