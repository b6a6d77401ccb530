"""What an evaluation's results are kept free of: the wall clock, and what a prefix cache saved,
which depends on what ran at the same time. It adds up over resumptions.

Saved every few seconds, so that a killed session loses at most the last of them.
"""

import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

from eval.folder import read_json, write_json
from eval.samples import Sample

SAVE_SECONDS = 5.0


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
        self.samples: dict[str, dict[str, float | None]] = before.get("samples", {})
        self._born = self._saved = time.monotonic()

    def add(self, row: Sample, seconds: float, ttft: float | None) -> None:
        """One more sample: its tokens, its seconds and those to its first token."""
        self.samples[f"{row.id}/{row.repeat}"] = {"seconds": seconds, "ttft": ttft}
        self.tokens += row.total_tokens
        self.prompt_tokens += row.prompt_tokens
        self.cached_tokens += row.cached_tokens
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        write_json(self.path, self.summary())

    def summary(self) -> dict[str, Any]:
        """Seconds of wall clock; tokens per second over all that ran at the same time."""
        elapsed = self.seconds + time.monotonic() - self._born
        seconds = [s["seconds"] for s in self.samples.values() if s["seconds"] is not None]
        ttft = [s["ttft"] for s in self.samples.values() if s["ttft"] is not None]
        return {
            "seconds": elapsed,
            "total_tokens": self.tokens,
            "tokens_per_second": self.tokens / elapsed if elapsed else 0.0,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "cached": self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0,
            "seconds_per_sample": {"mean": fmean(seconds), "median": median(seconds)}
            if seconds
            else None,
            "ttft": {"mean": fmean(ttft), "median": median(ttft)} if ttft else None,
            "samples": self.samples,
        }
