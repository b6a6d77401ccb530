"""The samples of an evaluation: one row of JSON each."""

from pathlib import Path

import msgspec

from eval.jsonl import MEND, read_lines
from reason.types import Finish


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


_SAMPLE = msgspec.json.Decoder(Sample)


def read_samples(path: Path) -> dict[tuple[str, int], Sample]:
    """The rows of a file by their keys, in its order. Raises UsageError for a file that cannot be
    read, a line that is no sample, and a key that is there twice."""
    rows: dict[tuple[str, int], Sample] = {}
    texts: dict[str, str] = {}  # each held once, however many rows say it
    for line in read_lines(path):
        row = line.decoded(_SAMPLE, "a sample", MEND)
        for name in ("id", "answer", "thread"):
            if text := getattr(row, name):
                msgspec.structs.force_setattr(row, name, texts.setdefault(text, text))
        if row.key in rows:
            raise line.damaged(f"{row.id!r}, repeat {row.repeat}, is there twice{MEND}")
        rows[row.key] = row
    return rows
