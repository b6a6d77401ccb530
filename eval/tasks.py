"""What can be asked: problems by name or from a user's words, as prompts, with their verifiers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from eval.countdown import (
    LARGEST_NUMBER,
    TARGETS,
    Problem,
    expression,
    generate,
    parse_steps,
    solve,
    verify,
)
from reason.errors import UsageError
from reason.types import Prompt

SMALL = 12
"""Largest number of the problems that people make up."""


@dataclass(frozen=True)
class Item:
    """One problem, ready to be put to a model."""

    id: str
    title: str
    """The problem as a person would write it."""
    prompt: Prompt
    """The problem in the words that the model's grammar expects."""
    verify: Callable[[str | None], bool]
    show: Callable[[str], str] = str
    """An answer as a person would write it."""


@dataclass(frozen=True)
class Countdown:
    """Countdown with so many numbers, from one of the splits."""

    numbers: int = 4
    split: str = "test"
    largest: int = LARGEST_NUMBER

    def items(self, limit: int, seed: int, grammar: str) -> list[Item]:
        """The first `limit` problems of the split; the same for the same seed, any limit."""
        problems = islice(generate(self.numbers, self.split, seed, self.largest), limit)
        return [countdown_item(problem, grammar) for problem in problems]


TASKS = {
    **{f"countdown{n}": Countdown(n) for n in (3, 4, 5)},
    **{f"countdown{n}_target": Countdown(n, "test_target") for n in (3, 4, 5)},
    **{f"countdown{n}_small": Countdown(n, "test", SMALL) for n in (4, 5)},
}
"""Held-out multisets of numbers; `_target`: with held-out targets too; `_small`: from 1 to 12."""


def task_of(name: str) -> Countdown:
    """The task of that name. Raises UsageError naming those that exist."""
    if name not in TASKS:
        raise UsageError(f"no task is called {name!r}; there is: {', '.join(TASKS)}")
    return TASKS[name]


_NUMBER = r"[0-9]{1,9}"
_NUMBERS = rf"(?P<numbers>{_NUMBER}(?:(?:\s*,\s*and\s+|\s*,\s*|\s+and\s+|\s+){_NUMBER})+)"
_TARGET = rf"(?P<target>{_NUMBER})"
_FORMS = (
    re.compile(rf"{_NUMBERS}\s*(?:=|->|→|\bto\b)\s*{_TARGET}", re.IGNORECASE),
    re.compile(
        rf"(?:make|reach|get)\s+{_TARGET}\s+(?:from|with|using|out\s+of)\s+"
        rf"(?:the\s+numbers\s+)?{_NUMBERS}",
        re.IGNORECASE,
    ),
)


def parse_countdown(text: str) -> Problem | None:
    """A problem from "make 24 from 3 5 7 8" or "3 5 7 8 = 24"; None if the text is neither."""
    for form in _FORMS:
        match = form.fullmatch(text.strip().rstrip(".!?"))
        if match:
            numbers = tuple(map(int, re.findall(r"\d+", match["numbers"])))
            return Problem(numbers, int(match["target"]))
    return None


def countdown_item(problem: Problem, grammar: str) -> Item:
    """The problem for a model trained on the grammar "countdown", or in words for any other.

    Raises UsageError for a problem outside what the shipped model was trained on.
    """
    if grammar == "countdown":
        _check_range(problem)
        prompt = f"{problem.target} {' '.join(map(str, problem.numbers))}"
    else:
        prompt = (
            f"Use each of the numbers {', '.join(map(str, problem.numbers))} exactly once, with "
            f"+, -, * and /, to make {problem.target}. Every intermediate result must be an "
            "integer of 0 or more. Give one arithmetic expression as the answer."
        )

    def show(answer: str) -> str:
        steps = parse_steps(answer)
        return expression(steps, problem.numbers) if steps and verify(answer, problem) else answer

    return Item(str(problem), str(problem), prompt, lambda answer: verify(answer, problem), show)


def _check_range(problem: Problem) -> None:
    limits = (
        f"The shipped model solves Countdown with 3 to 5 numbers from 1 to {LARGEST_NUMBER} and a "
        f"target from {TARGETS[0]} to {TARGETS[-1]}; connect another model with --backend."
    )
    if not 3 <= len(problem.numbers) <= 5:
        raise UsageError(f"{problem} has {len(problem.numbers)} numbers. {limits}")
    for number in problem.numbers:
        if not 1 <= number <= LARGEST_NUMBER:
            raise UsageError(f"{problem}: {number} is out of range. {limits}")
    if problem.target not in TARGETS:
        raise UsageError(f"{problem}: the target {problem.target} is out of range. {limits}")
    if solve(problem.numbers, problem.target) is None:
        raise UsageError(
            f"{problem} has no solution with intermediate results up to 200, which is as far as "
            "the shipped model counts."
        )
