"""The keys of TRL's configurations as a recipe gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from math import isfinite
from typing import Any

from reason.config import Values, convert, unknown_key
from reason.errors import UsageError

CHOICES: Mapping[str, Mapping[str, tuple[str | bool, ...]]] = {
    "GRPOConfig": {
        "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        "scale_rewards": ("group", "batch", "none", True, False),
        "importance_sampling_level": ("token", "sequence"),
        "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    },
    "SFTConfig": {"loss_type": ("nll", "dft", "chunked_nll")},
}
"""Words that TRL documents and looks at only when it trains, by configuration and key."""


NOT_NEGATIVE = ("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "beta")
POSITIVE = ("save_steps", "logging_steps")
SHARES = ("adam_beta1", "adam_beta2")
"""Numbers that the optimiser, or the loop, takes only so."""


def settings(cls: Any, table: Any, ours: Mapping[str, str], at: str) -> Values:
    """What a table sets of the configuration `cls`, as its own types.

    Raises UsageError for a key that it does not have, for a value that no training takes, and for
    the keys of `ours`, which says why they are not for a recipe.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{at} has keys of its own: give {at}.KEY=VALUE, not {table!r}")
    known = {field.name: field for field in fields(cls)}
    for name, why in ours.items():
        if name in table:
            raise UsageError(f"{at}.{name} is not for a recipe: {why}")
    listing = f"python -m pydoc {cls.__module__.partition('.')[0]}.{cls.__name__} describes all"
    unknown_key(table, known.keys() - ours.keys(), f"{at}.", listing)
    words = CHOICES.get(cls.__name__, {})
    found = {
        name: _typed(value, known[name].default, f"{at}.{name}", words.get(name, ()))
        for name, value in table.items()
    }
    for name, value in found.items():
        _bounded(name, value, f"{at}.{name}")
    if found.get("max_steps", 1) == 0:
        raise UsageError(f"{at}.max_steps must be 1 or more, or -1 for whole epochs, got 0")
    return found


REPORTERS = ("tensorboard", "trackio", "wandb")


def reporting(name: str) -> list[str]:
    """What TRL reports to, for a recipe's `report_to`. Raises UsageError for a word that is none of
    REPORTERS, and for a package that is not installed."""
    if name == "none":
        return []
    if name not in REPORTERS:
        raise UsageError(f"report_to must be none, {', '.join(REPORTERS)}, got {name!r}")
    if find_spec(name) is None:
        raise UsageError(f"report_to={name} needs the package {name}: pip install {name}")
    return [name]


def configured(cls: Any, at: str, **given: Any) -> Any:
    """The configuration. Raises UsageError for values that do not go together."""
    try:
        return cls(**given)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{at}: {error}") from error


def _bounded(name: str, value: Any, at: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if name in NOT_NEGATIVE and value < 0:
        raise UsageError(f"{at} must be 0 or more, got {value:g}")
    if name in POSITIVE and value <= 0:
        raise UsageError(f"{at} must be more than 0, got {value:g}")
    if name in SHARES and not 0 <= value < 1:
        raise UsageError(f"{at} must be from 0 to less than 1, got {value:g}")


def _typed(value: Any, default: Any, at: str, words: Sequence[str | bool]) -> Any:
    """A word of the command line as what TRL's default is, or one of `words`; TOML has types of its
    own. Raises UsageError for what is neither."""
    if words:
        said = {str(word).lower(): word for word in words}
        if str(value).lower() not in said:
            raise UsageError(f"{at} must be one of {', '.join(said)}, got {value!r}")
        return said[str(value).lower()]
    if isinstance(default, bool):
        return convert(bool, value, at)
    found = _number(value) if isinstance(value, str) and not isinstance(default, str) else value
    number = isinstance(found, int | float) and not isinstance(found, bool) and isfinite(found)
    if isinstance(default, int | float) and not number:
        raise UsageError(f"{at} must be a number, got {value!r}")
    return found


def _number(word: str) -> Any:
    """A word where TRL's default does not tell what it stands for."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
