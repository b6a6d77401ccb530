"""The knobs of `reason train traces`, beside the keys of the command."""

from dataclasses import dataclass, field
from typing import Literal

from reason.types import SamplingParams
from rl.traced.blocks import Worth
from rl.traced.contamination import GRAM
from rl.traced.trace import End


@dataclass(frozen=True)
class Options:
    """Of both ways to make examples: from chains with a teacher, and from an evaluation."""

    against: tuple[str, ...] = ()
    """Evaluation sets that no example may overlap with, as `reason eval` takes them."""
    gram: int = GRAM
    """Words in a row that are an overlap."""
    tokenizer: str = ""
    """Whose token ids examples hold: a folder or a name of the Hub; `teacher` for the teacher's
    own; empty for text only. An evaluation has its own."""
    sampling: SamplingParams = SamplingParams(temperature=0.6, top_p=0.95, max_tokens=16_384)
    """Of the teacher."""
    tries: int = 3
    """How often it is asked for an answer that can be used."""
    grader: Literal["math", "integer", "choice"] = "math"
    """What holds the answer of a chain against the right one."""
    worth: Worth = field(default_factory=Worth)
    """What makes a block."""
    similarity: float = 0.6
    """How much of a thread's words must be left after rewriting, as a share of all."""
    block_fails: Literal["drop", "sequential"] = "drop"
    """What becomes of a block whose outlines or threads cannot be had: the chain is dropped for it,
    or the block stays as it was written, in one thread, beside others that can."""
    end: End = "model"
    """Who ends a block, as `end` of the method that will run."""
    sequential: float = 1.0
    """Share of the chains without a block that become examples, drawn by their ids."""
    longest: int = 40_960
    """Most tokens of a sequence, prompt and all; words where no tokenizer is known."""
    acceleration: float = 0.0
    """Least acceleration ratio of an example with blocks: 1 - critical path / tokens."""
    each: int = 1
    """From an evaluation: examples of one question, those that are fastest; 0 for all."""

    def __post_init__(self) -> None:
        for name, least in (("gram", 2), ("tries", 1), ("longest", 1), ("each", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        for name in ("similarity", "sequential", "acceleration"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
