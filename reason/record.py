"""A run on disk: one header line, then one line per event; and back."""

import json
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from reason.errors import UsageError
from reason.events import Event, from_json, to_json

VERSION = 1


class Recorder:
    """A sink that writes each event to `path` at once: a killed process leaves them all there.

    If the disk refuses, recording ends and `error` says why; the run itself goes on. Raises
    UsageError if the file cannot be opened.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.error: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(path, "w")
        except OSError as error:
            raise UsageError(f"cannot record to {path}: {error.strerror}") from error
        self._write(json.dumps({"reason": VERSION, **header}).encode() + b"\n")

    def __call__(self, event: Event) -> None:
        if not self._file.closed:
            self._write(to_json(event) + b"\n")

    def close(self) -> None:
        """Close the file; what comes later is not recorded."""
        try:
            self._file.close()
        except OSError as error:  # some file systems only now say that they are full
            self._failed(error)

    def _write(self, line: bytes) -> None:
        try:
            written = self._file.write(line)
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            self._failed(error)
            self.close()

    def _failed(self, error: OSError) -> None:
        self.error = self.error or f"recording to {self.path} stopped: {error.strerror}"


def read(path: Path) -> tuple[dict[str, Any], Iterator[Event]]:
    """The header and the events of a recorded run.

    A last line cut short, as a killed process leaves it, is left out. Raises UsageError for a
    file that is no recording, and, while iterating, for a damaged line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        header = json.loads(lines[0])
        version = header["reason"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no recorded run: its first line is not a header") from error
    if version != VERSION:
        raise UsageError(f"{path} has recording version {version}; this program reads {VERSION}")
    return header, _events(path, lines)


def _events(path: Path, lines: list[bytes]) -> Iterator[Event]:
    complete = len(lines) - 1  # what follows the last line break was cut short, or is empty
    for number in range(1, complete):
        try:
            yield from_json(lines[number])
        except (msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"{path}, line {number + 1}: not an event ({error})") from error
