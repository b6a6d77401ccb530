"""One problem of a task, whatever the task."""

from collections.abc import Callable
from dataclasses import dataclass

from reason.types import Prompt

UNDECIDED = "it cannot be compared"
"""How the fault begins of an answer that the grader gave up on."""


@dataclass(frozen=True)
class Item:
    """One problem, ready to be put to a model."""

    id: str
    title: str
    """The problem as a person would write it."""
    prompt: Prompt
    """The problem in the words that the model's grammar expects."""
    fault: Callable[[str | None], str | None]
    """What is wrong with an answer; None for a right one. It may be called in any thread."""
    show: Callable[[str], str] = str
    """An answer as a person would write it."""
    slow: bool = False
    """Whether `fault` may take seconds, so that it belongs in a thread of its own."""
    refusal: str | None = None
    """Why no answer can be held against the right one, as it stands in the data; else None."""
    group: str = ""
    """What the problem is a variant of, if of anything; variants are not independent."""

    def verify(self, answer: str | None) -> bool:
        """Whether the answer is right."""
        return self.fault(answer) is None
