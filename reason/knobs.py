"""The keys of a dataclass as a user gives them, with their defaults and what its source says."""

import ast
import dataclasses
import inspect
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from reason.run import Controller

_KINDS = {int: "integer", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True)
class Knob:
    """One key."""

    key: str
    """Dotted, where a dataclass is the field of another."""
    kind: str
    """What its value is: integer, "keep or replace", …"""
    default: Any
    """None for one that has to be given, too; a dataclass by its keys alone."""
    about: str
    """Nothing where the source says nothing."""
    required: bool = False

    @property
    def given(self) -> str:
        """The key with its default, as one would write it."""
        if self.required:
            return self.key
        return f"{self.key}.KEY" if self.default == {} else f"{self.key}={_written(self.default)}"


def knobs_of(cls: type[Any], at: str = "", default: Any = None) -> Iterator[Knob]:
    """Every key of a dataclass, and those of dataclasses in it; `default` is what `cls` is where
    nothing is given. Of a method that may be any only the key that names it."""
    hints, told = get_type_hints(cls), told_of(cls)
    for field in dataclasses.fields(cls):
        key, about, hint = f"{at}{field.name}", told.get(field.name, ""), hints[field.name]
        value = getattr(default, field.name) if default is not None else _default(field)
        required = value is dataclasses.MISSING
        parts = [part for part in _parts(hint) if part is not type(None)]
        below = next((part for part in parts if dataclasses.is_dataclass(part)), None)
        if Controller in parts:
            more = f"{about} Its own keys are {key}.KEY: reason methods NAME."
            yield Knob(f"{key}.controller", "the name of a method", None, more)
        elif isinstance(below, type):
            there = isinstance(value, below)
            yield Knob(key, "keys of its own", {} if there else None, about)
            yield from knobs_of(below, f"{key}.", value if there else None)
        else:
            yield Knob(key, _kind(hint), None if required else value, about, required)


def told_of(cls: type[Any]) -> dict[str, str]:
    """What the source says of each field, in the text below it; of those that it inherits, too."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        tree = ast.parse(inspect.getsource(sys.modules[each.__module__]))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == each.__name__:
                found |= _texts(node)
    return found


def _texts(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for one, after in zip(node.body, node.body[1:], strict=False):
        field = isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        if field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[one.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _kind(hint: Any) -> str:
    """An annotation in words."""
    said = []
    for part in _parts(hint):
        origin, args = get_origin(part), get_args(part)
        if origin is Literal:
            said.append(" or ".join(map(str, args)))
        elif origin in (tuple, list):
            said.append(f"a list: {_kind(args[0])},…")
        else:
            said.append("none" if part is type(None) else _KINDS.get(part, part.__name__))
    return " or ".join(said)


def _written(value: Any) -> str:
    """As on a command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(_written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
