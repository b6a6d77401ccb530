"""The cells of a sweep: every combination of the values that its configuration lists.

    task = "countdown4"             # what all cells share: any key of `reason eval`
    limit = 200

    [[method]]                      # each on its own: its lists are combined with each other
    controller = "apr"
    width = [0, 8, 4]

    [[method]]
    controller = "self_consistency"
    n = [4, 8]

    [grid]                          # combined with every method
    budget.total_tokens = [1024, 2048]

    [stop]                          # for the whole sweep: when no further sample is begun
    total_tokens = 1_000_000

A key whose value is itself a list takes a list of lists.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from reason.config import Values, merge
from reason.errors import UsageError

OWN = ("method", "grid", "stop", "plan")
"""Tables of a sweep that are no keys of `reason eval`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One evaluation of a sweep."""

    name: str
    """Its folder: the method and the values that are its own."""
    tables: Values
    """What `reason eval` is given."""


def cells(config: Mapping[str, Any]) -> list[Cell]:
    """All cells, in the order of the configuration.

    Raises UsageError for a configuration that has none, for an empty list, and for two cells that
    are the same.
    """
    shared = {key: value for key, value in config.items() if key not in OWN}
    methods, grid = config.get("method", [{}]), config.get("grid", {})
    if not isinstance(methods, list) or not all(isinstance(m, Mapping) for m in methods):
        raise UsageError("methods are written [[method]], one table each, with a controller")
    if not isinstance(grid, Mapping):
        raise UsageError(f"[grid] is a table of lists, got {grid!r}")
    found: dict[str, Cell] = {}
    for method in methods:
        for values in _combinations(merge(grid, method)):
            tables = merge(shared, _nested(values))
            if "controller" not in tables:
                raise UsageError("no controller: give one, or a list of them, or [[method]] tables")
            own = _telling(grid, method)
            name = _name(str(tables["controller"]), {key: values[key] for key in own})
            if name in found:
                raise UsageError(f"two cells of the sweep are called {name!r}: list a value once")
            found[name] = Cell(name, tables)
    if not found:
        raise UsageError("the sweep has no cells: give [[method]] tables or a [grid]")
    return list(found.values())


def _combinations(table: Mapping[str, Any]) -> Iterator[Values]:
    """Every choice of one value per key; keys are dotted."""
    flat = dict(_flat(table))
    choices = [value if isinstance(value, list) else [value] for value in flat.values()]
    for key, choice in zip(flat, choices, strict=True):
        if not choice:
            raise UsageError(f"{key} has no values: list at least one")
    for values in product(*choices):
        yield dict(zip(flat, values, strict=True))


def _telling(grid: Mapping[str, Any], method: Mapping[str, Any]) -> list[str]:
    """The keys that tell cells apart: all of the method's, and what varies in the grid."""
    varied = [key for key, value in _flat(grid) if isinstance(value, list) and len(value) > 1]
    return [key for key in dict.fromkeys([*dict(_flat(method)), *varied]) if key != "controller"]


def _flat(table: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _nested(values: Values) -> Values:
    tables: Values = {}
    for key, value in values.items():
        for name in reversed(key.split(".")):
            value = {name: value}
        tables = merge(tables, value)
    return tables


def _name(controller: str, varied: Values) -> str:
    """As a folder may be called, whatever the values hold."""
    parts = [controller, *(f"{key}={value}" for key, value in varied.items())]
    return re.sub(r"[^\w.=+,-]+", "_", " ".join(parts).replace(" ", ","))
