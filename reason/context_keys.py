"""The keys of the commands on contexts, as in reason/keys.py."""

from dataclasses import dataclass
from pathlib import Path

from reason.keys import BACKEND, CALIBRATION_SEED, JSON, SEED
from reason.options import option

CONTEXTS = option(
    None, "Folder of encoded contexts [$REASON_CONTEXTS, or in the user's cache]", metavar="DIR"
)
ALL = option(False, "All there are")
PROMPTS = option(32, "How many questions to tune on", "-n")
WRITTEN = option(32, "Tokens that the model writes behind each, at most")
TEMPERATURES = option(None, "T to try [0.1 to 1.2]", metavar="N,…")
SCALES = option(None, "S to try [0.1 to 1.2]", metavar="N,…")
TUNED = option(Path("tuned.json"), "The file of what was found; a picture beside it", metavar="F")


@dataclass(frozen=True)
class CacheBuild:
    """Keys of `reason cache build`, beside those of the method ape."""

    words: tuple[str, ...] = ()
    backend: str = BACKEND
    out: Path | None = CONTEXTS
    json: bool = JSON


@dataclass(frozen=True)
class CacheList:
    """Keys of `reason cache list`."""

    words: tuple[str, ...] = ()
    out: Path | None = CONTEXTS
    json: bool = JSON


@dataclass(frozen=True)
class CacheRemove:
    """Keys of `reason cache rm`."""

    names: tuple[str, ...] = ()
    all: bool = ALL
    out: Path | None = CONTEXTS


@dataclass(frozen=True)
class Tune:
    """Keys of `reason tune ape`, beside those of the method."""

    task: str = ""
    backend: str = BACKEND
    limit: int = PROMPTS
    tokens: int = WRITTEN
    temperatures: tuple[float, ...] | None = TEMPERATURES
    scales: tuple[float, ...] | None = SCALES
    seed: int = SEED
    problems_seed: int = CALIBRATION_SEED
    out: Path = TUNED
    json: bool = JSON
