"""What a training run is made of, and what of it cannot be: every value out of range is refused."""

from dataclasses import dataclass, field
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

from reason.errors import UsageError

SHORTEST = 24
"""Tokens of the shortest row, and of the smallest batch."""


SHARES = ("three", "five", "small", "all_children", "serial", "weave", "attempts", "cut", "sent_on")


def _check(ok: bool, of: Any, name: str, expected: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {expected}, got {getattr(of, name)!r}")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which examples a stage of training draws, per problem."""

    root: bool = True
    three: float = 0.25
    """Share of 3-number problems."""
    five: float = 0.0
    """Share of 5-number problems; the rest have 4."""
    small: float = 0.0
    """Share of problems with numbers from 1 to 12: people ask them, uniform draws lack them."""
    all_children: float = 0.4
    """Share of problems with a root that spawns every first operation (k = 0)."""
    narrow: int = 2
    """Roots with a limited width drawn of each problem; they are short, so it takes several."""
    children: int = 3
    """Children drawn of each root, one that succeeds among them if there is one."""
    serial: float = 0.0
    """How many serial traces are drawn per problem, on average (at most 1)."""
    weave: float = 0.0
    """Share of problems with a run of outlines and threads (rl/weaving.py)."""
    attempts: float = 0.0
    """Share of problems with an attempt, mostly one that reads earlier ones (rl/attempts.py)."""
    cut: float = 0.0
    """Share of serial searches and attempts that are shown again, cut, with the answer forced."""
    sent_on: float = 0.0
    """Share of problems with a serial search that is sent on after it gave up, where it does."""

    def __post_init__(self) -> None:
        for name in SHARES:
            _check(0 <= getattr(self, name) <= 1, self, name, "a share from 0 to 1")
        rest = 1 - self.three
        _check(self.five <= rest + 1e-9, self, "five", f"at most 1 - three ({rest:g})")
        _check(self.narrow >= 0, self, "narrow", "0 or more")
        _check(self.children >= 0, self, "children", "0 or more")
        roots = self.root and (self.five or self.narrow or self.all_children)
        others = self.serial or self.weave or self.attempts
        if not (roots or self.children or (others and self.five < 1)):
            raise ValueError(
                "root, children, serial, weave or attempts must give examples: now there are none"
            )


@dataclass(frozen=True, slots=True)
class LookupMixture:
    """Which examples of looking things up a stage of training draws (rl/lookup.py)."""

    people: float = 1.0
    """Weight of plain facts, and of the other kinds below."""
    homes: float = 1.0
    shots: float = 1.0
    facts: int = 120
    """Most facts of an example, in all contexts together."""
    questions: int = 16
    """Most questions asked of them."""
    noise: float = 0.4
    """Share of shots with any colour at all."""

    def __post_init__(self) -> None:
        for name in ("people", "homes", "shots"):
            _check(0 <= getattr(self, name) < inf, self, name, "0 or more and finite")
        _check(self.people + self.homes + self.shots > 0, self, "people", "more than 0, or another")
        for name in ("facts", "questions"):
            _check(getattr(self, name) >= 1, self, name, "1 or more")
        _check(0 <= self.noise <= 1, self, "noise", "a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the Llama that is trained."""

    hidden: int = 128
    layers: int = 4
    intermediate: int = 384
    head: int = 64
    context: int = 2048

    def __post_init__(self) -> None:
        for name in ("layers", "intermediate", "context"):
            _check(getattr(self, name) >= 1, self, name, "1 or more")
        _check(self.head >= 2 and self.head % 2 == 0, self, "head", "an even number, 2 or more")
        whole = self.hidden >= 1 and self.hidden % self.head == 0
        _check(whole, self, "hidden", f"a multiple of head ({self.head})")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training with one mixture of data and one learning-rate schedule."""

    name: str
    blocks: int
    muon: float
    """Peak learning rate of the matrices."""
    adamw: float
    """Peak learning rate of everything else."""
    mixture: Mixture = field(default_factory=Mixture)
    lookup: LookupMixture | None = None
    """In the place of the mixture, for the model that looks things up."""
    warmup: int = 50
    """Steps."""
    decay_from: float = 0.5
    """Share of the stage after which the rate falls linearly, to `floor` of its peak."""
    floor: float = 0.02

    def __post_init__(self) -> None:
        _check(self.blocks >= 1, self, "blocks", "1 or more")
        _check(0 <= self.muon < inf, self, "muon", "0 or more and finite")
        _check(0 <= self.adamw < inf, self, "adamw", "0 or more and finite")
        _check(self.warmup >= 0, self, "warmup", "0 or more")
        _check(0 <= self.decay_from <= 1, self, "decay_from", "a share from 0 to 1")
        _check(0 <= self.floor <= 1, self, "floor", "a share from 0 to 1")

    @property
    def data(self) -> Mixture | LookupMixture:
        """What examples are drawn from."""
        return self.lookup or self.mixture

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak learning rates at one step of all the stage has."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        done = step / steps
        if done <= self.decay_from:
            return rise
        return rise * max(self.floor, (1 - done) / (1 - self.decay_from))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run."""

    stage: tuple[Stage, ...]
    shape: Shape = field(default_factory=Shape)
    start: str = ""
    """A checkpoint folder of this shape to start from, instead of random weights."""
    batch: int = 1920
    """Tokens per step, padding included."""
    block: int = 500
    """Steps per block, which is also the distance between checkpoints."""
    threads: int = 1
    compile: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check(len(self.stage) >= 1, self, "stage", "one or more")
        _check(self.batch >= SHORTEST, self, "batch", f"{SHORTEST} or more")
        _check(self.block >= 1, self, "block", "1 or more")
        _check(self.threads >= 1, self, "threads", "1 or more")
        _check(0 <= self.seed < 2**63, self, "seed", "from 0 to 2**63 - 1")
        kinds = {stage.lookup is None for stage in self.stage}
        if len(kinds) > 1:
            raise ValueError("all stages must have a lookup, or none: a model has one language")
        room = self.shape.context
        _check(
            self.batch <= room, self, "batch", f"at most shape.context ({room}), as a row may be"
        )

    @property
    def language(self) -> str:
        """Whose words the model reads: countdown or lookup."""
        return "lookup" if self.stage[0].lookup else "countdown"


GRPO = "[grpo]"
"""The table that a recipe of `reason train grpo` has."""


def recipe_file(name: str, grpo: bool = False) -> Path:
    """A file, or one of the recipes of that kind that ship, by name. Raises UsageError naming
    those."""
    folder = files("rl").joinpath("recipes")
    shipped = {
        file.name: Path(str(file))
        for file in sorted(folder.iterdir(), key=str)
        if (GRPO in file.read_text()) == grpo
    }
    if not name:
        there = [file.removesuffix(".toml") for file in shipped]
        command = f"reason train {'grpo' if grpo else 'sft'} {there[0]} --out DIR"
        raise UsageError(
            f"which recipe? for example: {command}; there are {', '.join(there)}, or a FILE.toml"
        )
    if Path(name).is_file():
        return Path(name)
    if f"{name.removesuffix('.toml')}.toml" in shipped:
        return shipped[f"{name.removesuffix('.toml')}.toml"]
    raise UsageError(f"there is no recipe {name!r}; with the package come: {', '.join(shipped)}")
