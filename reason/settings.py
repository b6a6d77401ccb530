"""What a user asked for: options, `key=value` words and a TOML file, all under the same names.

One flat list of keys: those of the command, of the method, and of the budget. `budget.depth` is
always the budget's; a bare `depth` is the method's where the method has such a key.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from reason.config import (
    CHOICE,
    Methods,
    Values,
    build,
    given_twice,
    merge,
    parse_words,
    read_toml,
    unknown_key,
)
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller

T = TypeVar("T")
TABLES = {"budget", "backends"}
"""Keys that have keys of their own, in every command that runs a method."""


def split_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """What was said, and the key=value words among it; a first word with spaces is never one."""
    said: list[str] = []
    settings: list[str] = []
    for index, word in enumerate(words):
        setting = re.match(r"[A-Za-z_][\w.]*=", word) and (index or not re.search(r"\s", word))
        (settings if setting else said).append(word)
    return said, settings


def gather(config: Path | None, words: Iterable[str], options: Mapping[str, Any]) -> Values:
    """All that was given: what the command line says goes before the file.

    Raises UsageError for a key that is both an option and a word.
    """
    tables = read_toml(config) if config else {}
    said = parse_words(words)
    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in options.items()
        if value is not None
    }
    for name, value in given.items():
        if name in said:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            raise given_twice(name, f"{name}={said[name]}", shown)
    return merge(merge(tables, said), given)


def command_of(cls: type[T], tables: Values) -> T:
    """The command's own part of what was given; the other keys are not looked at."""
    names = _names(cls)
    return build(cls, {name: value for name, value in tables.items() if name in names})


def method_of(
    cls: type[T],
    tables: Values,
    method: Callable[..., Controller],
    methods: Methods | None = None,
) -> tuple[Controller, Budget]:
    """The method and its budget from what the command `cls` does not take for itself; `methods`
    finds those inside it.

    Raises UsageError for a key that none of them has.
    """
    own, knobs, limits = _names(cls), _names(method), _names(Budget)
    described = f"`reason methods {getattr(method, 'name', 'NAME')}` describes those of the method"
    unknown_key(tables, own | knobs | limits | TABLES, where=described)
    budget = tables.get("budget", {})
    if not isinstance(budget, Mapping):
        raise UsageError(f"budget has keys of its own: give budget.KEY=VALUE, not {budget!r}")
    rest = {name: value for name, value in tables.items() if name not in own | TABLES}
    bare = {name: value for name, value in rest.items() if name not in knobs}
    mine = {name: rest[name] for name in rest if name in knobs}
    if methods:
        mine = _handed_down(method, mine, methods)
    kinds = {Controller: methods} if methods else {}
    controller = build(method, mine, kinds=kinds)  # type: ignore[arg-type]
    return controller, build(Budget, merge(bare, budget), at="budget.")


def _handed_down(method: Any, tables: Values, methods: Methods) -> Values:
    """With the sampling of a method for those inside it, but for what they say themselves."""
    fields = {field.name: field for field in dataclasses.fields(method)}
    found = dict(tables)
    for name, field in fields.items():
        inner = tables.get(name)
        if Controller not in get_args(field.type) or not isinstance(inner, Mapping):
            continue
        if not isinstance(inner.get(CHOICE), str):
            continue  # `build` says what is missing
        inner, chosen = dict(inner), methods(inner[CHOICE])
        given = tables.get("sampling", {})
        if "sampling" in fields and "sampling" in _names(chosen) and isinstance(given, Mapping):
            own = dataclasses.asdict(fields["sampling"].default)  # type: ignore[arg-type]
            inner = merge({"sampling": merge(own, given)}, inner)
        found[name] = _handed_down(chosen, inner, methods)
    return found


def choose(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of that name. Raises UsageError naming those that exist."""
    if name not in known:
        raise UsageError(f"no {kind} is called {name!r}; there is: {', '.join(known)}")
    return known[name]


def _names(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}
