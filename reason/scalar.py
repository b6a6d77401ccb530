"""Single values of a configuration, and lists of them, as TOML or a command line gives them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reason.errors import UsageError

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SUFFIX = {"k": 1_000, "m": 1_000_000}


def scalar(hint: Any, value: Any, at: str) -> Any:
    """The value as the annotated type, of which str, bool, int, float and Path are known. Raises
    UsageError for any other."""
    readers: dict[Any, tuple[Callable[[str], Any], str]] = {
        bool: (_bool, "true or false"),
        int: (_int, "an integer"),
        float: (_float, "a number"),
        Path: (Path, "a path"),
    }
    if hint is Any or (hint is str and isinstance(value, str)):
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint or (hint is Path and isinstance(value, Path)):
        return value
    if isinstance(value, str) and hint in readers:
        try:
            return readers[hint][0](value)
        except ValueError:
            pass
    expected = readers[hint][1] if hint in readers else "a string"
    raise UsageError(f"{at} must be {expected}, got {value!r}")


def _bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _WORDS:
        raise ValueError(text)
    return _WORDS[word]


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = _float(text)  # 4k, 1e3
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _float(text: str) -> float:
    text = text.strip()
    if text and text[-1].lower() in _SUFFIX and text.lower() not in ("inf", "nan"):
        return float(text[:-1]) * _SUFFIX[text[-1].lower()]
    return float(text.replace("_", ""))


def items(value: Any, at: str, hint: Any) -> list[Any]:
    """A list, also as JSON or as words between commas; words that stay text keep their spaces.
    Raises UsageError for what is none."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        return [value]
    if value.lstrip().startswith("["):
        try:
            return list(json.loads(value, strict=False))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{at} must be a list, got {value!r}") from error
    parts = value.split(",") if value else []
    if hint is not str:
        return [part.strip() for part in parts if part.strip()]
    if "" in parts:
        raise UsageError(
            f'{at} has an empty item; one with a comma in it is written {at}=["…"], got {value!r}'
        )
    return parts
