"""`reason methods`: the methods there are, and every key of one, with its default and meaning."""

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controllers.methods import METHODS, method_named
from reason.knobs import Knob, knobs_of
from reason.ledger import Budget


@dataclass(frozen=True, slots=True)
class Described:
    """A method as users see it."""

    name: str
    title: str
    """In one sentence."""
    about: str
    """More of it."""
    keys: tuple[Knob, ...]

    @classmethod
    def of(cls, name: str) -> "Described":
        """Raises UsageError for a name that no method has."""
        method = method_named(name)
        title = _first(inspect.getdoc(sys.modules[method.__module__]))
        return cls(name, title, _first(inspect.getdoc(method)), tuple(knobs_of(method)))


def show(names: Sequence[str], console: Console, json: bool) -> int:
    """Print these methods with their keys, or all of them without; the exit code.

    Raises UsageError for a name that no method has.
    """
    found = [Described.of(name) for name in names or METHODS]
    limits = tuple(knobs_of(Budget, "budget."))
    if json:
        whole: dict[str, Any] = {
            "methods": [asdict(each) for each in found],
            "budget": [asdict(limit) for limit in limits],
        }
        console.out(msgspec.json.encode(whole).decode(), highlight=False)
        return 0
    if not names:
        console.print(_table((each.name, each.title) for each in found))
        console.print(Text("\nreason methods NAME lists the keys of one, with their defaults."))
        return 0
    for each in found:
        console.print(Text(f"{each.name}\n", "bold"), Text(f"{each.title} {each.about}\n"), sep="")
        console.print(_table((key.given, _told(key)) for key in each.keys))
        console.print()
    console.print(Text("Of every method:\n"))
    console.print(_table((key.given, _told(key)) for key in limits))
    return 0


def _told(key: Knob) -> str:
    kind = f"{key.kind}, must be given" if key.required else key.kind
    return f"{key.about} [{kind}]".strip()


def _table(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for left, right in rows:
        table.add_row(Text(left), Text(right))
    return table


def _first(doc: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((doc or "").split("\n\n")[0].split())
