"""Configuration: TOML files and `key=value` words become frozen dataclasses.

A dataclass is its own schema: its fields are the keys, their annotations the types, and its
`__post_init__` the last check. Dotted keys reach nested dataclasses. Everything wrong raises
UsageError, and an unknown key says which keys exist.
"""

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reason.errors import UsageError
from reason.scalar import items, scalar

T = TypeVar("T")
Values = dict[str, Any]
Methods = Callable[[str], type[Any]]
"""Finds the class of a method by its name; raises UsageError naming those that exist."""
Kinds = Mapping[Any, Methods]
"""For annotations that stand for many dataclasses, what finds the one that is named."""
CHOICE = "controller"
"""The key that names it, beside those of the dataclass itself."""
_NO_KINDS: Kinds = {}

_LISTED = 40
"""Names that a message lists at most."""


def read_toml(path: Path) -> Values:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def parse_words(words: Iterable[str]) -> Values:
    """`["rounds=2", "sampling.temperature=0.6"]` as nested tables of strings."""
    tables: Values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"expected key=value, got {word!r}")
        *path, last = key.strip().split(".")
        table = tables
        for name in path:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{word!r}: {name} was already given a value of its own")
        if isinstance(table.get(last), dict):
            raise UsageError(f"{word!r}: {last} was already given keys of its own")
        if last in table:
            raise given_twice(key.strip(), f"{key.strip()}={table[last]}", word)
        table[last] = value
    return tables


def given_twice(key: str, one: str, other: str) -> UsageError:
    """Two values for one key on the same command line: neither goes first."""
    return UsageError(f"{key} is given twice, as {one} and as {other}: leave one out")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """`base` with the entries of `over` laid on top, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def build(
    cls: type[T],
    values: Mapping[str, Any],
    default: T | None = None,
    at: str = "",
    kinds: Kinds = _NO_KINDS,
) -> T:
    """An instance of the dataclass `cls`, with `values` over its defaults (or over `default`).

    A field annotated with one of `kinds` is a table that says by name what it is.
    """
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown_key(values, fields, at)
    given: Values = {}
    for name, value in values.items():
        below = getattr(default, name, None) if default else _default(fields[name])
        given[name] = convert(hints[name], value, f"{at}{name}", below, kinds)
    missing = [
        name
        for name, f in fields.items()
        if default is None
        and name not in given
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        place = at.removesuffix(".") or cls.__name__
        raise UsageError(f"{place}: missing {', '.join(missing)}")
    try:
        if default is not None:
            return dataclasses.replace(default, **given)  # type: ignore[type-var]
        return cls(**given)
    except ValueError as error:
        raise UsageError(f"{at}{error}") from error


def unknown_key(values: Iterable[str], known: Iterable[str], at: str = "", where: str = "") -> None:
    """Raise UsageError for the first key that does not exist, naming those that do; of very many
    those that are like it. `where` says what lists all of them."""
    names = sorted(known)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            told = f"the keys are: {', '.join(names) or 'none'}"
            if len(names) > _LISTED:
                inside = [each for each in names if name in each][:5]
                like = dict.fromkeys([*inside, *difflib.get_close_matches(name, names, 5)])
                told = f"of {len(names)} keys, {', '.join(like) or 'none'} are like it"
            raise UsageError(f"unknown key {at}{name!s}{hint}; {told}{where and f'; {where}'}")


def convert(hint: Any, value: Any, at: str, default: Any = None, kinds: Kinds = _NO_KINDS) -> Any:
    """`value` as the annotated type; strings are read as on a command line."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        for choice in args:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise UsageError(f"{at} must be one of {', '.join(map(str, args))}, got {value!r}")
    if origin in (Union, types.UnionType):
        return _union(args, value, at, default, kinds)
    if hint in kinds:
        return _chosen(kinds[hint], value, at, kinds)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise UsageError(f"{at} has keys of its own: give {at}.KEY=VALUE, not {value!r}")
        return build(hint, value, default if isinstance(default, hint) else None, f"{at}.", kinds)
    if origin in (tuple, list):
        given = items(value, at, args[0])
        converted = [convert(args[0], item, f"{at}[{i}]") for i, item in enumerate(given)]
        return tuple(converted) if origin is tuple else converted
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{at} must be a table, got {value!r}")
        return dict(value)
    return scalar(hint, value, at)


def _chosen(methods: Methods, value: Any, at: str, kinds: Kinds) -> Any:
    if not isinstance(value, Mapping):
        raise UsageError(f"{at} has keys of its own: give {at}.{CHOICE}=NAME, not {value!r}")
    if CHOICE not in value:
        raise UsageError(f"{at} has no {CHOICE}: give {at}.{CHOICE}=NAME")
    name = scalar(str, value[CHOICE], f"{at}.{CHOICE}")
    knobs = {key: below for key, below in value.items() if key != CHOICE}
    return build(methods(name), knobs, None, f"{at}.", kinds)


def _union(args: tuple[Any, ...], value: Any, at: str, default: Any, kinds: Kinds) -> Any:
    if type(None) in args and (value is None or value in ("none", "None")):
        return None
    problem: UsageError | None = None
    for hint in (a for a in args if a is not type(None)):
        try:
            return convert(hint, value, at, default, kinds)
        except UsageError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
