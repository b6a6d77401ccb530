"""The keys of TRL's configurations as a recipe gives them."""

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

from reason.config import Values, unknown_key
from reason.errors import UsageError


def settings(cls: Any, table: Any, ours: Mapping[str, str], at: str) -> Values:
    """What a table sets of the configuration `cls`, as its own types.

    Raises UsageError for a key that it does not have, and for those of `ours`, which says why they
    are not for a recipe.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{at} has keys of its own: give {at}.KEY=VALUE, not {table!r}")
    known = {field.name: field for field in fields(cls)}
    for name, why in ours.items():
        if name in table:
            raise UsageError(f"{at}.{name} is not for a recipe: {why}")
    unknown_key(table, known.keys() - ours.keys(), f"{at}.")
    found = {name: _typed(value, known[name].default) for name, value in table.items()}
    for name, value in found.items():
        default = known[name].default
        counted = isinstance(default, int | float) and not isinstance(default, bool)
        if counted and not (isinstance(value, int | float) and isfinite(value)):
            raise UsageError(f"{at}.{name} must be a number, got {value!r}")
    if found.get("max_steps", 1) == 0:
        raise UsageError(f"{at}.max_steps must be 1 or more, or -1 for whole epochs, got 0")
    return found


def configured(cls: Any, at: str, **given: Any) -> Any:
    """The configuration. Raises UsageError for values that do not go together."""
    try:
        return cls(**given)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{at}: {error}") from error


def _typed(value: Any, default: Any) -> Any:
    """A word of the command line as what TRL's default is; TOML has types of its own."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
