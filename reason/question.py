"""What is asked, and what it is put to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reason.backends.base import Backend
from reason.engine import Scorer
from reason.ledger import Budget
from reason.run import Controller
from reason.types import Message, Prompt


@dataclass(frozen=True, slots=True)
class Aside:
    """What stands between two marks of a grammar."""

    begin: str
    end: str
    thought: bool = False
    """Thinking, with which a thread begins if it thinks at all; else a block of threads."""


@dataclass(frozen=True)
class Question:
    """What is asked, and how its answer is checked and shown."""

    title: str
    prompt: Prompt
    fault: Callable[[str | None], str | None] | None = None
    """What is wrong with an answer, None for a right one; None where nothing can check it."""
    show: Callable[[str], str] = str
    scorers: Mapping[str, Scorer] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """A question, the method that works on it, and what that may spend."""

    question: Question
    controller: Controller
    budget: Budget
    answer: Callable[[str], str | None]
    """The answer in what a thread has written, as the method's grammar has it."""
    asides: tuple[Aside, ...] = ()
    """What in a thread is not for the reader of an answer."""


Prepare = Callable[[str | Sequence[Message], Mapping[str, Any], Mapping[str, Backend]], Turn]
"""Makes a turn of a user's words, or of a whole chat, and of settings: `controller` names the
method, the other keys are its knobs, the budget's, and `budget`; for models by role. Raises
UsageError for what cannot be, before anything is paid for."""
