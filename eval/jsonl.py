"""A file of JSON lines: one process appends rows to it, and anybody may read it meanwhile.

Every row reaches the operating system before `append` returns, and the disk at most a second later
and at the end: a killed process loses nothing, a power cut one second. What such an end leaves of
a line is never read, and is cut off before the next row is written.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

import msgspec

from eval.folder import whole
from reason.errors import UsageError

SYNC_SECONDS = 1.0
MEND = "; mend or remove that line"
T = TypeVar("T")
Row = TypeVar("Row", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND


class JsonLines(Generic[Row]):
    """The file, open for appending and locked.

    Raises UsageError when it cannot be opened or written, or another process has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, _FLAGS, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder may have replaced the file between our opening and locking it.
            if not os.path.samestat(os.fstat(self._fd), os.stat(path)):
                raise BlockingIOError
            self._size = whole(path)
            self._torn = os.fstat(self._fd).st_size > self._size
        except OSError as error:
            os.close(self._fd)
            raise UsageError(
                f"another process is writing to {path}: wait for it, or give another folder"
                if isinstance(error, BlockingIOError)
                else f"cannot lock {path}: {error.strerror}"
            ) from error
        self._synced = time.monotonic()

    @property
    def empty(self) -> bool:
        """Whether nothing was ever written, not even a part of a line."""
        return self._size == 0 and not self._torn

    def append(self, row: Row) -> None:
        """Add a row, all of it or nothing."""
        line = encode(row)
        try:
            if self._torn:
                self._cut()
            _write(self._fd, line)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
        except OSError as error:
            self._torn = True
            with suppress(OSError):
                self._cut()
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the rows before are kept, and the "
                "same command goes on from there"
            ) from error
        self._size += len(line)

    def replace(self, lines: Iterable[bytes]) -> None:
        """Let the file hold these lines only; a process killed meanwhile leaves the old ones."""
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            fd = os.open(temporary, _FLAGS | os.O_TRUNC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # before anybody can see it under its name
                with open(fd, "wb", closefd=False) as file:
                    file.writelines(lines)
                os.fsync(fd)
                os.replace(temporary, self.path)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise UsageError(f"cannot write {temporary}: {error.strerror}") from error
        os.close(self._fd)
        self._fd, self._size, self._torn = fd, os.fstat(fd).st_size, False

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        try:
            self._sync()
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self) -> None:
        os.ftruncate(self._fd, self._size)
        self._torn = False

    def _sync(self) -> None:
        os.fsync(self._fd)
        self._synced = time.monotonic()


class Line(NamedTuple):
    """A whole line, and where it stands."""

    path: Path
    number: int
    """From 1."""
    start: int
    """The byte at which it begins."""
    data: bytes
    """Without its line break."""

    def decoded(self, decoder: msgspec.json.Decoder[T], what: str, remedy: str = "") -> T:
        """The row. Raises UsageError, that it is not `what` it should be, and the `remedy`."""
        try:
            return decoder.decode(self.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.damaged(f"not {what} ({error}){remedy}") from error

    def damaged(self, what: str) -> UsageError:
        """The error that says so of this line."""
        return UsageError(f"{self.path}, line {self.number}: {what}")


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, one at a time; a last one without its end is left out. Raises UsageError
    for a file that cannot be read."""
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # else its rest, written meanwhile, would come as the next line
                yield Line(path, number, start, line[:-1])
                start += len(line)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def read_line(path: Path, start: int, number: int) -> Line:
    """A line of which it is known where it begins. Raises UsageError as `read_lines` does."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return Line(path, number, start, file.readline().removesuffix(b"\n"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def encode(row: msgspec.Struct) -> bytes:
    """A row as its line."""
    return _encode(row) + b"\n"


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:  # a disk that fills up takes a part first and refuses the rest
        view = view[os.write(fd, view) :]
