"""What a grammar of parallel threads consists of: prompts, marks to stop at, blocks to read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reason.question import Aside
from reason.types import Contexts, Prompt


@dataclass(frozen=True, slots=True)
class Task:
    """What one child is asked."""

    label: str
    """What the parent called it."""
    message: str
    """All that the child gets to see."""


@dataclass(frozen=True, slots=True)
class ThreadFormat:
    """ThreadWeaver's blocks (Lian et al. 2025, section 3), with all white space in them.

    The model writes up to and including `outlines_end`, then every thread up to `thread_end`, and
    goes on behind `glue`; headers, glue, and what closes a thread that did not end, are put in.
    """

    header: str
    """Opens a thread; {number} is that of its outline."""
    between: str
    """What of the header's beginning the second thread and later ones go without."""
    thread_end: str
    unclosed: str
    """Closes a thread that did not close itself."""
    glue: str
    """Between the last thread and what the model goes on with."""
    block_end: str
    """Ends the block: written by the model in the released code, put in by the paper's runtime."""
    block: str
    """Begins a block, with the outlines in it."""
    outline: tuple[str, str, str]
    """What stands before, between and after the number and the text of an outline."""
    width: int = 0
    """Outlines to a block, as many as suit the models of the grammar; 0 leaves it to the model."""
    outlines: str = "<Outlines>"
    outlines_end: str = "</Outlines>"
    pattern: str = r"<Outline>\s*([0-9]+(?:\.[0-9]+)*)\s*:\s*(.*?)\s*</Outline>"
    """The regular expression by which outlines are read, which is more lenient."""

    def read(self, text: str) -> list[tuple[str, str]]:
        """Number and text of every outline in the block that `text` ends with."""
        return re.findall(self.pattern, text.rpartition(self.outlines)[2], re.DOTALL)


class Syntax(Protocol):
    """A grammar of spawn and join. Text goes in and comes out; tokens are the engine's matter."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings at which a thread stops writing and waits for children."""
        ...

    def serial(self, problem: Prompt, width: int) -> Prompt:
        """The prompt of a thread that does everything itself."""
        ...

    def parallel(self, problem: Prompt, width: int) -> Prompt:
        """The prompt of a thread that may spawn; `width` children at a time, 0 for any number."""
        ...

    def child(self, task: Task) -> Prompt:
        """The prompt of a child: its message and nothing else of the parent."""
        ...

    def block(self, text: str) -> int:
        """Where that begins in `text` which the join block takes the place of: the spawn block
        that it ends with; its end if there is none with a task in it."""
        ...

    def tasks(self, text: str) -> list[Task]:
        """The tasks of the spawn block that `text` ends with; what cannot be read is left out."""
        ...

    def result(self, text: str) -> str | None:
        """The message that a child's last words return to its parent; None for a failure."""
        ...

    def report(self, tasks: Sequence[Task], results: Sequence[str | None]) -> str:
        """The join block that the parent reads."""
        ...

    def answer(self, text: str) -> str | None:
        """The final answer in a thread's last words."""
        ...

    @property
    def threads(self) -> ThreadFormat:
        """How outlines and threads are written."""
        ...

    def woven(self, problem: Prompt, width: int) -> Prompt:
        """The prompt of a thread that may outline parts; `width` to a block, 0 for any number."""
        ...

    def attempt(self, problem: Prompt, earlier: Sequence[str], width: int) -> Prompt:
        """The prompt of an attempt that is shown the solutions of earlier ones, maybe of none."""
        ...

    def beside(self, problem: Prompt, earlier: Sequence[str], width: int) -> Contexts:
        """The same for one earlier attempt or more, each a context of its own."""
        ...

    def revisited(self, problem: Prompt, earlier: Sequence[str]) -> Prompt:
        """The problem as a method gets it that makes such an attempt, and asks in its own words.

        Raises UsageError for a grammar whose problems cannot hold earlier solutions.
        """
        ...

    def solution(self, text: str) -> str | None:
        """What an attempt hands on to later ones: its solution without the thinking."""
        ...

    @property
    def thought_ends(self) -> tuple[str, ...]:
        """Strings at which the thinking ends and the answer begins."""
        ...

    def summary(self, problem: Prompt, solutions: Sequence[str]) -> Prompt:
        """The prompt of a call that writes one summary of several attempts.

        Raises UsageError, as `choice` does, for a grammar without such calls.
        """
        ...

    def choice(self, problem: Prompt, solutions: Sequence[str], k: int) -> Prompt:
        """The prompt of a call that picks the best `k` of several attempts."""
        ...

    def chosen(self, text: str, count: int, k: int) -> list[int] | None:
        """What it picked, as indices below `count`; None unless it is `k` different ones."""
        ...

    def critique(self, problem: Prompt, solution: str) -> Prompt:
        """The prompt of a call that lists the errors of one attempt; may raise UsageError."""
        ...

    def judge(self, problem: Prompt, a: str, b: str) -> Prompt | None:
        """The prompt of a call that says which of two solutions is better; None where the models
        of this grammar cannot tell."""
        ...

    def verdict(self, text: str) -> int | None:
        """What it said: 0 for the first, 1 for the second; None if that cannot be read."""
        ...

    def thinking(self, text: str) -> bool:
        """Whether a thought that nobody is to see is open at the end of `text`, all of a thread."""
        ...

    def conclusion(self, text: str) -> str:
        """What to add to `text`, all of a thread so far, to end its thinking; then it answers."""
        ...

    def more(self, thought: str) -> str | None:
        """What to add to all of a thread up to the end of its thinking, for it to think on; None
        where there is nothing left to think about."""
        ...

    @property
    def endless(self) -> bool:
        """Whether answers are read without the token that ends a sequence, since they are all of
        the text."""
        ...

    @property
    def asides(self) -> tuple[Aside, ...]:
        """What in a thread is not for the reader of its answer: thinking, blocks of threads."""
        ...

    @property
    def step_ends(self) -> tuple[str, ...]:
        """Strings at which a step of a chain of thought ends."""
        ...
