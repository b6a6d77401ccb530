"""What a line that is being typed may become."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reason.chat.commands import COMMANDS, Methods
from reason.errors import UsageError
from reason.ledger import Budget

LIMITS = tuple(field.name for field in dataclasses.fields(Budget))
FILES = 200
"""Entries of a folder that are looked at."""


def completed(line: str, methods: Methods, settings: Mapping[str, Any]) -> str | None:
    """The line with its last word completed, None where nothing fits."""
    if not line.startswith("/"):
        return None
    name, space, rest = line[1:].partition(" ")
    if not space:
        return _first(line, (f"/{each}{' ' * COMMANDS[each].takes}" for each in COMMANDS))
    before, _, word = line.rpartition(" ")
    if not word and name not in ("method", "compare"):
        return None
    return _first(line, (f"{before} {each}" for each in _words(name, rest, methods, settings)))


def _first(line: str, candidates: Iterator[str]) -> str | None:
    return next((each for each in candidates if each.startswith(line) and each != line), None)


def _words(name: str, rest: str, methods: Methods, settings: Mapping[str, Any]) -> Iterator[str]:
    """What the last word of the command may be."""
    *earlier, word = rest.split(" ")
    if name in ("method", "compare", "help"):
        if "=" not in word:
            yield from methods.names
        if name == "help":
            yield from COMMANDS
            return
        named = [each for each in earlier if each in methods.names]
        method = named[-1] if named else str(settings["controller"])
        try:
            yield from (f"{knob.key}=" for knob in methods.knobs(method))
        except UsageError:  # of a name that settings have and no method does
            return
        yield from (f"budget.{limit}=" for limit in LIMITS)
    elif name == "budget":
        yield from (f"{limit}=" for limit in LIMITS)
        yield "none"
    elif name in ("load", "save", "replay"):
        yield from _files(word)


def _files(word: str) -> Iterator[str]:
    folder, slash, start = word.rpartition("/")
    try:
        inside = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())[:FILES]
    except OSError:
        return
    for path in inside:
        if path.name.startswith(start) and " " not in path.name:
            yield f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
