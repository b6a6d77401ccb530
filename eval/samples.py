"""The samples of an evaluation on disk: one row of JSON each, appended as they finish.

Every row reaches the operating system before `append` returns, and the disk at most a second later
and at the end: a killed process loses nothing, a power cut one second. One process at a time holds
the file.
"""

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from eval.folder import whole
from reason.errors import UsageError
from reason.types import Finish

SYNC_SECONDS = 1.0


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the method on one problem, without anything that depends on the clock, or, but for
    `cached_tokens` and `peak_threads`, on what ran at the same time."""

    id: str
    repeat: int
    answer: str | None
    correct: bool
    error: str | None
    """Why there is no result, or which threads the run had to do without."""
    failed: bool
    """Whether the model failed, which is worth another try; a limit of the budget is a result."""
    limit: str | None
    """The first limit of the budget that was hit, even where an answer was found."""
    finish: Finish | None
    """How the thread ended that holds the answer, or the root if there is no result."""
    thread: str | None
    critical_path: int
    total_tokens: int
    longest_sequence: int
    prompt_tokens: int
    cached_tokens: int
    threads: int
    peak_threads: int
    in_thought: bool = False
    """Whether the answer stands in the thinking only, and what was said after it has none."""
    ungraded: str | None = None
    """Why the grader gave up on the answer, which counts as wrong."""
    warnings: tuple[str, ...] = ()
    """Why the method may not have done what it is for, in its own words."""
    group: str = ""
    """What the problem is a variant of; it is not independent of others of the same group."""

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.repeat


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sample).decode


class Samples:
    """The file of samples, open for appending and locked.

    Raises UsageError when the file cannot be opened or written, is in use by another process, or
    is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise
        self._size = os.fstat(self._fd).st_size
        self._synced = time.monotonic()

    @property
    def empty(self) -> bool:
        return self._size == 0

    def load(self) -> dict[tuple[str, int], Sample]:
        """The rows so far by their key. A last line cut short, as a killed process leaves it, is
        cut off."""
        complete = whole(self.path)
        if complete < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, complete)
            self._size = complete
        rows: dict[tuple[str, int], Sample] = {}
        texts: dict[str, str] = {}  # each held once, however many rows say it
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = _decode(line.rstrip(b"\n"))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise self._damaged(number, f"not a sample ({error})") from error
                for name in ("id", "answer", "thread"):
                    if text := getattr(row, name):
                        msgspec.structs.force_setattr(row, name, texts.setdefault(text, text))
                if row.key in rows:
                    raise self._damaged(number, f"{row.id!r}, repeat {row.repeat}, is there twice")
                rows[row.key] = row
        return rows

    def append(self, row: Sample) -> None:
        """Add a row, all of it or nothing; what a broken disk leaves of it, `load` cuts off."""
        line = _encode(row) + b"\n"
        try:
            _write(self._fd, line)
            self._size += len(line)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the rows before are kept, and the "
                "same command goes on from there"
            ) from error

    def replace(self, rows: Iterable[Sample]) -> None:
        """Let the file hold these rows only; a process killed meanwhile leaves the old ones."""
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
            fd = os.open(temporary, flags, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # before anybody can see it under its name
                _write(fd, b"".join(_encode(row) + b"\n" for row in rows))
                os.fsync(fd)
                os.replace(temporary, self.path)
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise UsageError(f"cannot write {temporary}: {error.strerror}") from error
        os.close(self._fd)
        self._fd, self._size = fd, os.fstat(fd).st_size

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder may have replaced the file between our opening and locking it.
            free = os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except BlockingIOError:
            free = False
        except OSError as error:
            raise UsageError(f"cannot lock {self.path}: {error.strerror}") from error
        if not free:
            raise UsageError(
                f"another process is writing to {self.path}: wait for it, or give another folder"
            )

    def _sync(self) -> None:
        os.fsync(self._fd)
        self._synced = time.monotonic()

    def _damaged(self, line: int, what: str) -> UsageError:
        return UsageError(f"{self.path}, line {line}: {what}; mend or remove that line")


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:  # a disk that fills up takes a part first and refuses the rest
        view = view[os.write(fd, view) :]
