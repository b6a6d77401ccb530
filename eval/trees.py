"""The thread trees of an evaluation on disk: one line of JSON for each run, its events in short.

A line is there before the row of its sample is, and as soon on the disk; one whose row a killed
process never wrote is followed by another of the same name, which counts.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from eval.folder import whole
from eval.samples import SYNC_SECONDS
from reason.errors import UsageError
from reason.events import Event

NAME = "trees.jsonl"


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one run."""

    id: str
    repeat: int
    events: list[Event]

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.repeat


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Tree).decode


class TreeFile:
    """The file of trees, open for appending. Raises UsageError where that is impossible."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._size = whole(path)
            os.ftruncate(self._fd, self._size)
            self._synced = time.monotonic()
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    def append(self, tree: Tree) -> None:
        """Add a tree, all of it or nothing."""
        line = memoryview(_encode(tree) + b"\n")
        size = len(line)
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._fd)
                self._synced = time.monotonic()
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the rows before are kept, and the "
                "same command goes on from there"
            ) from error
        self._size += size

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def read_trees(path: Path) -> Iterator[Tree]:
    """The trees of a file, one at a time, each run's last. Raises UsageError for a damaged line."""
    places: dict[tuple[str, int], tuple[int, int]] = {}
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                places[_tree(path, number, line).key] = (file.tell() - len(line), number)
        for start, number in places.values():
            file.seek(start)
            yield _tree(path, number, file.readline())


def _tree(path: Path, number: int, line: bytes) -> Tree:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}: not a tree ({error})") from error


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
