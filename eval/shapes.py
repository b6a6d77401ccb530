"""What a report relies on in the JSON files of an evaluation; whatever else they hold is let be."""

from pathlib import Path
from typing import Any

import msgspec

from eval.folder import read_json
from reason.errors import UsageError


class Method(msgspec.Struct):
    """By its name; the other keys are its fields."""

    name: str


class Model(msgspec.Struct):
    """Of one role."""

    model: str


class Config(msgspec.Struct):
    """config.json."""

    task: str
    controller: Method
    backends: dict[str, Model]


class Times(msgspec.Struct):
    """timing.json."""

    seconds: float = 0.0


class Session(msgspec.Struct):
    """One start, in manifest.json."""

    started: str
    python: str
    versions: dict[str, str]
    cpu: str
    cpus: int | None
    commit: str | None
    modified: bool
    reproducible: dict[str, str]


class Manifest(msgspec.Struct):
    """manifest.json."""

    sessions: list[Session] = []


def read_checked(path: Path, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """All that the file holds, nothing if there is no file. Raises UsageError for another shape."""
    found = read_json(path)
    if found is None:
        return {}
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is not that of an evaluation: {error}") from error
    return dict(found)
