"""What a whole sweep may spend."""

import time
from dataclasses import dataclass, field
from math import inf

from eval.samples import Sample


@dataclass(frozen=True, slots=True)
class Limits:
    """No further sample is begun once one of these is reached; those that run come to their end."""

    total_tokens: float = inf
    """Sampled tokens of all cells, those of earlier sessions included."""
    seconds: float = inf
    """Wall clock of this session."""

    def __post_init__(self) -> None:
        for name in ("total_tokens", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


@dataclass(slots=True)
class Allowance:
    """What is left of it. Gets every row, as the progress line does."""

    limits: Limits
    tokens: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, row: Sample) -> None:
        self.tokens += row.total_tokens

    def spent(self) -> str | None:
        """The limit that is reached, in words; None while there is none."""
        if self.tokens >= self.limits.total_tokens:
            return f"{self.tokens:,} of {self.limits.total_tokens:,.0f} tokens are spent"
        if time.monotonic() - self.began >= self.limits.seconds:
            return f"{self.limits.seconds:,.0f} seconds have passed"
        return None

    def left(self) -> float:
        """Seconds."""
        return max(self.limits.seconds - (time.monotonic() - self.began), 1e-3)
