"""A file of JSON lines that only grows: every line whole or not at all, one process at a time."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, Self, TypeVar

import msgspec

from eval.folder import whole
from reason.errors import UsageError

T = TypeVar("T", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


class Rows(Generic[T]):
    """The file, open for appending and locked.

    A line reaches the operating system before `append` returns: a killed process loses nothing.
    Raises UsageError where the file cannot be written, is in use, or is damaged.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path, self._decode = path, msgspec.json.Decoder(kind).decode
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = whole(path)
            os.ftruncate(self._fd, self._size)  # a last line that a killed process left in pieces
        except OSError as error:
            os.close(self._fd)
            raise UsageError(
                f"another process is writing to {path}: wait for it, or give another folder"
                if isinstance(error, BlockingIOError)
                else f"cannot write {path}: {error.strerror}"
            ) from error

    def __iter__(self) -> Iterator[T]:
        """The rows, one at a time."""
        for _, row in self.placed():
            yield row

    def placed(self) -> Iterator[tuple[int, T]]:
        """The rows, each with the byte at which it begins."""
        with self.path.open("rb") as file:
            place = 0
            for number, line in enumerate(file, 1):
                try:
                    yield place, self._decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise UsageError(
                        f"{self.path}, line {number}: not such a row ({error}); mend or remove "
                        "that line"
                    ) from error
                place += len(line)

    def append(self, row: msgspec.Struct) -> None:
        """Add a row, all of it or nothing; it may hold more than is read again."""
        line = memoryview(_encode(row) + b"\n")
        size = len(line)
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the rows before are kept, and the "
                "same command goes on from there"
            ) from error
        self._size += size

    def rearrange(self, order: Callable[[T], int | None]) -> None:
        """Put the rows in this order, and leave those out that have none; of two in one place the
        later stays. Nothing is appended after that. A process killed meanwhile leaves the file as
        it was."""
        places: dict[int, int] = {}
        count = 0
        for start, row in self.placed():
            count += 1
            if (at := order(row)) is not None:
                places[at] = start
        starts = [places[at] for at in sorted(places)]
        if len(starts) == count and starts == sorted(starts):
            return
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with self.path.open("rb") as file, temporary.open("wb") as new:
                new.writelines(_at(file, starts))
                new.flush()
                os.fsync(new.fileno())
                temporary.replace(self.path)
        except OSError as error:
            raise UsageError(f"cannot write {temporary}: {error.strerror}") from error

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        with suppress(OSError):
            os.fsync(self._fd)
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


def _at(file: BinaryIO, places: Iterable[int]) -> Iterator[bytes]:
    for place in places:
        file.seek(place)
        yield file.readline()
