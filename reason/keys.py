"""The keys of every command: its options, `key=value` words and TOML keys.

The first is what is said in plain words.
"""

from dataclasses import dataclass
from pathlib import Path

from reason.errors import UsageError
from reason.options import option

CONTROLLER = option("apr", "The method", "-c", metavar="NAME")
BACKEND = option(
    "",
    "hf:PATH_OR_HUB_ID, sglang://HOST:PORT, …; without it the model that ships",
    "-b",
    metavar="SPEC",
)
REPLAY = option(
    None, "Answer from an evaluation's folder, or a file of answers", metavar="DIR|FILE"
)
SEED = option(0, "Seed of everything that is sampled")
PROBLEMS_SEED = option(0, "Seed of the problems that are drawn: others are asked")
JSON = option(False, "Print one JSON object")
SVG = option(None, "Write the tree there as SVG", metavar="FILE")
RECORD = option(None, "Write every event there, for replay", metavar="FILE")
LIMIT = option(None, "How many problems [all of a data set, 200 that are drawn]", metavar="N")
WITHOUT = option(None, "Leave out the questions of that calibration", metavar="FILE")
EXCLUDE = option(False, "Leave out questions whose right answer no grader can read")
CONCURRENCY = option(16, "How many samples at the same time")
IN_FLIGHT = option(None, "Tokens held at once from which on none is begun", metavar="N")
KEEP = option(True, "Keep every sample's thread tree, for report and replay")
OUT = option(None, "Folder of results [runs/TASK-CONTROLLER]", metavar="DIR")
DRY = option(False, "Only say which cells there are, and what they will take")
ON = option("", "Cells as tasks on Ray: ray (this machine), or ray://HOST:PORT", metavar="ray")
CPUS = option(1.0, "With --on: cores that a cell takes", metavar="N")
GPUS = option(0.0, "With --on: GPUs that a cell takes", metavar="N")
CELLS = option(None, "Folder of all cells [runs/NAME of the file]", metavar="DIR")
REPORT = option(Path("report"), "Folder of page, tables and plots", metavar="DIR")
PRICES = option(None, "Price table in TOML, for the cost in money", metavar="FILE")
COMMON = option(False, "Only the problems that all evaluations of a task were asked")
TREES = option(200, "How many thread trees the page holds at most")
SCORE = option("avg", "avg, or what k samples of a question are worth: pass@K, maj@K", metavar="S")
CRITICAL_PATH = option(
    None, "Budgets on the critical path, such as 1k,4k [chosen; none: '']", metavar="N,…"
)
TOTAL_TOKENS = option(
    None, "Budgets on all sampled tokens, such as 1k,4k [chosen; none: '']", metavar="N,…"
)
SEED_PERMUTED = option(0, "Seed of permutations that are too many to count")
REPEATS = option(None, "Samples of each question [the task's own]", metavar="N")
QUESTIONS = option(None, "How many questions [all of a data set, 200 that are drawn]", metavar="N")
ACCURACY = option(None, "Share that one method gets right [0.5]", metavar="SHARE")
ICC = option(None, "Share of the variance that lies between questions [0.6]", metavar="SHARE")
CORRELATION = option(
    None, "How the solve rates of two methods correlate over questions [0.9]", metavar="SHARE"
)
DIFFERENCE = option(None, "A difference that is hoped for: is it found?", metavar="SHARE")
LIKE = option((), "One or two finished evaluations to take these shares from", metavar="DIR[,DIR]")
AUDIT = option(None, "Audit the decisions of that evaluation instead", metavar="DIR")
CALIBRATION_LIMIT = option(100, "How many questions to calibrate on", "-n")
FOLDS = option(5, "Parts of the questions, each judged by the scores of the others")
CALIBRATION_SEED = option(1, "Seed of the problems that are drawn: not those of evaluations")
CALIBRATION = option(None, "The file of scores [runs/calibration-TASK.json]", metavar="FILE")
AUDITED_BY = option(
    None, "With --audit: hold it against that one [what it was decided by]", metavar="FILE"
)
FOLDER = option(None, "Folder of checkpoints, log and model", metavar="DIR")
START = option("countdown-apr", "A model that ships, or a path or name for transformers")
PICTURE = option(Path("curves.png"), "The picture, as its name says: png, svg or pdf", metavar="F")
ROLE = option("policy", "Whose requests are learnt from")
THREADS = option(1, "Of torch, on a CPU")
REPORT_TO = option("none", "wandb, trackio, tensorboard or none", metavar="NAME")
TEACHER = option(
    "", "The model that divides and rewrites, as in `reason ask`", "-b", metavar="SPEC"
)
FROM_EVAL = option(None, "Take the right runs of that evaluation of threadweaver", metavar="DIR")
TRACES = option(None, "Folder of steps, examples and figures", metavar="DIR")
CHAINS = option(16, "How many chains at the same time")
PLAIN = option(False, "Lines in place of a screen: for screen readers; in pipes by itself")
THEME = option("", "dark, light, or a theme of Textual's [as the terminal says]", metavar="NAME")
CHATTED = option("", "The method [apr; of a general model, single]", "-c", metavar="NAME")
CHATS = option(None, "Folder of recordings [~/.local/state/reason/chats/DATE]", metavar="DIR")
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
class Chat:
    """Keys of `reason chat`, beside those of the method and its budget."""

    question: str = ""
    controller: str = CHATTED
    backend: str = BACKEND
    seed: int = SEED
    plain: bool = PLAIN
    theme: str = THEME
    folder: Path | None = CHATS


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
    replay: Path | None = REPLAY
    seed: int = SEED
    problems_seed: int = PROBLEMS_SEED
    limit: int | None = LIMIT
    exclude_unreadable: bool = EXCLUDE
    without: Path | None = WITHOUT
    concurrency: int = CONCURRENCY
    tokens_in_flight: int | None = IN_FLIGHT
    trees: bool = KEEP
    out: Path | None = OUT
    json: bool = JSON


@dataclass(frozen=True)
class Sweep:
    """Keys of `reason sweep`; those of `reason eval` that all cells share go with them."""

    config: str = ""
    out: Path | None = CELLS
    dry_run: bool = DRY
    on: str = ON
    cpus: float = CPUS
    gpus: float = GPUS
    json: bool = JSON

    def file(self) -> Path:
        """Raises UsageError if none is named, or it could run nowhere."""
        if not self.config:
            raise UsageError("which sweep? for example: reason sweep study.toml --out runs/study")
        if self.on and self.on != "ray" and not self.on.startswith("ray://"):
            raise UsageError(f"on must be ray or ray://HOST:PORT, got {self.on!r}")
        if self.cpus < 0 or self.gpus < 0 or not self.cpus + self.gpus:
            raise UsageError(f"a cell needs cpus or gpus, got {self.cpus:g} and {self.gpus:g}")
        return Path(self.config)


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
class Compare:
    """Keys of `reason compare`."""

    folders: tuple[Path, ...] = ()
    score: str = SCORE
    critical_path: tuple[float, ...] | None = CRITICAL_PATH
    total_tokens: tuple[float, ...] | None = TOTAL_TOKENS
    seed: int = SEED_PERMUTED
    json: bool = JSON


@dataclass(frozen=True)
class Power:
    """Keys of `reason power`."""

    task: str = ""
    repeats: int | None = REPEATS
    limit: int | None = QUESTIONS
    accuracy: float | None = ACCURACY
    icc: float | None = ICC
    correlation: float | None = CORRELATION
    difference: float | None = DIFFERENCE
    like: tuple[Path, ...] = LIKE
    json: bool = JSON


@dataclass(frozen=True)
class Calibrate:
    """Keys of `reason calibrate`, beside those of atts and its budget."""

    task: str = ""
    audit: Path | None = AUDIT
    backend: str = BACKEND
    limit: int = CALIBRATION_LIMIT
    folds: int = FOLDS
    seed: int = SEED
    problems_seed: int = CALIBRATION_SEED
    out: Path | None = CALIBRATION
    calibration: Path | None = AUDITED_BY
    json: bool = JSON


@dataclass(frozen=True)
class Methods:
    """Keys of `reason methods`."""

    names: tuple[str, ...] = ()
    json: bool = JSON


@dataclass(frozen=True)
class Train:
    """Keys of `reason train sft`, beside those of the recipe."""

    recipe: str = ""
    out: Path | None = FOLDER


@dataclass(frozen=True)
class Curves:
    """Keys of `reason train curves`."""

    folders: tuple[Path, ...] = ()
    out: Path = PICTURE


@dataclass(frozen=True)
class Trees:
    """Keys of `reason train trees`, beside the table `sft` of TRL's configuration."""

    data: str = ""
    model: str = START
    role: str = ROLE
    out: Path | None = FOLDER
    seed: int = SEED
    threads: int = THREADS
    report_to: str = REPORT_TO


@dataclass(frozen=True)
class Traces:
    """Keys of `reason train traces`, beside those of rl/traced/options.py."""

    file: str = ""
    from_eval: Path | None = FROM_EVAL
    backend: str = TEACHER
    out: Path | None = TRACES
    seed: int = SEED
    concurrency: int = CHAINS
    json: bool = JSON
