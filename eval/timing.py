"""What an evaluation's results are kept free of: the wall clock, and what a prefix cache saved,
which depends on what ran at the same time. It adds up over resumptions.

timing.json is saved every few seconds, so that a killed session loses at most the last of them;
times.jsonl has a line for each sample.
"""

import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import msgspec

from eval.folder import read_json, whole, write_json
from eval.jsonl import encode, read_lines
from eval.samples import Sample
from reason.errors import UsageError

SAVE_SECONDS = 5.0
NAME = "times.jsonl"


class Timed(msgspec.Struct, frozen=True):
    """Of one sample, in seconds."""

    id: str
    repeat: int
    seconds: float | None
    """From the beginning of the run to its end."""
    ttft: float | None
    """To its first token."""

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.repeat


_TIMED = msgspec.json.Decoder(Timed)


class Timing:
    """Seconds and tokens of all sessions together, and of every sample."""

    def __init__(self, path: Path) -> None:
        self.path = path
        before = read_json(path) or {}
        self.seconds: float = before.get("seconds", 0.0)
        """Of the sessions before this one."""
        self.tokens: int = before.get("total_tokens", 0)
        """Sampled in the timed seconds, those of samples that failed included."""
        self.prompt_tokens: int = before.get("prompt_tokens", 0)
        self.cached_tokens: int = before.get("cached_tokens", 0)
        self._of_samples, self._ttft = array("d"), array("d")
        self._fresh: list[bytes] = []
        """Lines that are not on the disk yet."""
        times = path.with_name(NAME)
        for timed in read_times(times):
            self._note(timed)
        try:
            self._file = times.open("ab")
            self._file.truncate(whole(times))
        except OSError as error:
            raise UsageError(f"cannot write {times}: {error.strerror}") from error
        self._born = self._saved = time.monotonic()

    def add(self, row: Sample, seconds: float, ttft: float | None) -> None:
        """One more sample: its tokens, its seconds and those to its first token."""
        timed = Timed(row.id, row.repeat, seconds, ttft)
        self._note(timed)
        self._fresh.append(encode(timed))
        self.tokens += row.total_tokens
        self.prompt_tokens += row.prompt_tokens
        self.cached_tokens += row.cached_tokens
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Raises UsageError if the disk is full."""
        self._saved = time.monotonic()
        try:
            self._file.write(b"".join(self._fresh))
            self._file.flush()
        except OSError as error:
            raise UsageError(f"cannot write {self._file.name}: {error.strerror}") from error
        self._fresh.clear()
        write_json(self.path, self.summary())

    def close(self) -> None:
        """Save, with what all samples add up to, and let go of the files."""
        try:
            self.save()
            middles = {"seconds_per_sample": self._of_samples, "ttft": self._ttft}
            found = {name: _middle(values) for name, values in middles.items()}
            write_json(self.path, {**self.summary(), **found})
        finally:
            self._file.close()

    def summary(self) -> dict[str, Any]:
        """Seconds of wall clock; tokens per second over all that ran at the same time. Nothing that
        takes longer the more samples there are."""
        elapsed = self.seconds + time.monotonic() - self._born
        return {
            "seconds": elapsed,
            "total_tokens": self.tokens,
            "tokens_per_second": self.tokens / elapsed if elapsed else 0.0,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "cached": self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0,
        }

    def _note(self, timed: Timed) -> None:
        if timed.seconds is not None:
            self._of_samples.append(timed.seconds)
        if timed.ttft is not None:
            self._ttft.append(timed.ttft)


def read_times(path: Path) -> Iterator[Timed]:
    """The lines of times.jsonl, none if there is no file.

    A sample that was tried again has several, of which the last counts. A last line cut short, as
    a killed process leaves it, is left out. Raises UsageError for any other that is none.
    """
    if path.exists():
        for line in read_lines(path):
            yield line.decoded(_TIMED, "the times of a sample", "; remove that line")


def _middle(values: "array[float]") -> dict[str, float] | None:
    return {"mean": fmean(values), "median": median(values)} if values else None
