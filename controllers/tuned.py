"""What `reason tune ape` found: temperature and scale of a model, and how far off they leave it."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from reason.backends.base import Info
from reason.errors import UsageError

FORMAT = "reason-ape-1"


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best of a grid. Divergences are in nats for a token: those of the next token in one
    sequence from those with the contexts side by side, averaged over what the model wrote."""

    model: str
    fingerprint: str
    temperature: float
    scale: float
    divergence: float
    interval: tuple[float, float]
    """95 %, over the prompts."""
    agreement: float | None
    """Share of tokens at which both find the same one the likeliest, where that is known."""
    plain: float
    """The divergence at T = S = 1."""
    prompts: int
    tokens: int
    grid: list[tuple[float, float, float]]
    """T, S and the divergence of every pair that was tried."""
    format: str = FORMAT

    def write(self, path: Path) -> None:
        """Raises UsageError where that cannot be done."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> "Tuned":
        """Raises UsageError for a file that is not there, or holds something else."""
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path} is no file of `reason tune ape`: {error}") from error
        if found.format != FORMAT:
            raise UsageError(f"{path} is of the format {found.format!r}, expected {FORMAT!r}")
        return found

    def check(self, info: Info) -> None:
        """Raise UsageError for another model than it was made with."""
        if self.fingerprint and info.fingerprint and self.fingerprint != info.fingerprint:
            raise UsageError(
                f"T and S were tuned with {self.model} ({self.fingerprint}), and this is "
                f"{info.model} ({info.fingerprint}); tune again: reason tune ape"
            )
