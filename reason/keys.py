"""The keys of every command: its options, `key=value` words and TOML keys.

The first is what is said in plain words.
"""

from dataclasses import dataclass
from pathlib import Path

from reason.options import option

CONTROLLER = option("apr", "The method", "-c", metavar="NAME")
BACKEND = option(
    "",
    "hf:PATH_OR_HUB_ID, sglang://HOST:PORT, …; without it the model that ships",
    "-b",
    metavar="SPEC",
)
SEED = option(0, "Seed of everything that is sampled")
PROBLEMS_SEED = option(0, "Seed of the problems that are drawn: others are asked")
JSON = option(False, "Print one JSON object")
SVG = option(None, "Write the tree there as SVG", metavar="FILE")
RECORD = option(None, "Write every event there, for replay", metavar="FILE")
LIMIT = option(None, "How many problems [all of a data set, 200 that are drawn]", metavar="N")
EXCLUDE = option(False, "Leave out questions whose right answer no grader can read")
CONCURRENCY = option(16, "How many samples at the same time")
KEEP = option(True, "Keep every sample's thread tree, for report and replay")
OUT = option(None, "Folder of results [runs/TASK-CONTROLLER]", metavar="DIR")
REPORT = option(Path("report"), "Folder of page, tables and plots", metavar="DIR")
PRICES = option(None, "Price table in TOML, for the cost in money", metavar="FILE")
COMMON = option(False, "Only the problems that all evaluations of a task were asked")
TREES = option(200, "How many thread trees the page holds at most")
FOLDER = option(None, "Folder of checkpoints, log and model", metavar="DIR")
SPEED = option(1.0, "Times as fast as it happened, 0 for the final tree at once")


@dataclass(frozen=True)
class Ask:
    """Keys of `reason ask`, beside those of the method and its budget."""

    problem: str = ""
    controller: str = CONTROLLER
    backend: str = BACKEND
    seed: int = SEED
    record: Path | None = RECORD
    svg: Path | None = SVG
    json: bool = JSON


@dataclass(frozen=True)
class Replay:
    """Keys of `reason replay`."""

    recording: str = ""
    speed: float = SPEED
    svg: Path | None = SVG
    json: bool = JSON


@dataclass(frozen=True)
class Eval:
    """Keys of `reason eval`, beside those of the method and its budget."""

    task: str = ""
    controller: str = CONTROLLER
    backend: str = BACKEND
    seed: int = SEED
    problems_seed: int = PROBLEMS_SEED
    limit: int | None = LIMIT
    exclude_unreadable: bool = EXCLUDE
    concurrency: int = CONCURRENCY
    trees: bool = KEEP
    out: Path | None = OUT
    json: bool = JSON


@dataclass(frozen=True)
class Report:
    """Keys of `reason report`."""

    folders: tuple[Path, ...] = ()
    out: Path = REPORT
    prices: Path | None = PRICES
    trees: int = TREES
    common: bool = COMMON
    json: bool = JSON


@dataclass(frozen=True)
class Train:
    """Keys of `reason train sft`, beside those of the recipe."""

    recipe: str = ""
    out: Path | None = FOLDER
