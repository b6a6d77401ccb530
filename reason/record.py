"""A run on disk: one header line, then one line per event; and back."""

import json
from collections.abc import Iterator, Mapping
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

import msgspec

from reason.errors import UsageError
from reason.events import Closed, Event, Noted, from_json, to_json

VERSION = 1
FLUSH_SECONDS = 0.2


class Recorder:
    """A sink that writes events to `path`, and what was buffered at least every 0.2 s of a run.

    If the disk refuses, recording ends and `error` says why; the run itself goes on. Raises
    UsageError if the file cannot be opened.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.error: str | None = None
        self._flushed = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BufferedWriter | None = BufferedWriter(FileIO(path, "w"), 1 << 16)
        except OSError as error:
            raise UsageError(f"cannot record to {path}: {error.strerror}") from error
        self._write(json.dumps({"reason": VERSION, **header}).encode() + b"\n")

    def __call__(self, event: Event) -> None:
        if self._file is None:
            return
        self._write(to_json(event) + b"\n")
        due = event.at - self._flushed > FLUSH_SECONDS
        if due or isinstance(event, Closed | Noted):
            self._flushed = event.at
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._flush()
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _write(self, line: bytes) -> None:
        try:
            if self._file is not None:
                self._file.write(line)
        except OSError as error:
            self._give_up(error)

    def _flush(self) -> None:
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.error = f"recording to {self.path} stopped: {error.strerror}"
        if self._file is not None:
            file, self._file = self._file, None
            file.raw.close()  # closing the file itself would flush, and fail, again


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
