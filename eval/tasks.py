"""What can be asked: problems by name or from a user's words, as prompts, with their verifiers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from eval.catalog import DATASETS, dataset_of
from eval.countdown import (
    LARGEST_NUMBER,
    TARGETS,
    Problem,
    expression,
    generate,
    parse_steps,
    solve,
)
from eval.item import Item
from eval.lookup import LOOKUPS
from eval.questions import Dataset
from eval.verifier import fault, possible
from reason.errors import UsageError

DRAWN = 200
"""Problems of a task that could go on for ever, where nothing else is said."""
SMALL = 12
"""Largest number of the problems that people make up."""


class Task(Protocol):
    """Problems that can be asked for by name."""

    @property
    def repeats(self) -> int:
        """How often each is asked where nothing else is said."""
        ...

    def items(self, limit: int | None, seed: int, grammar: str) -> Iterator[Item]:
        """The first `limit` problems, for a model trained on that grammar."""
        ...

    def describe(self) -> dict[str, str]:
        """What an evaluation must know of the data to be gone on with."""
        ...


@dataclass(frozen=True)
class Countdown:
    """Countdown with so many numbers, from one of the splits."""

    numbers: int = 4
    split: str = "test"
    largest: int = LARGEST_NUMBER
    repeats: int = 1

    def items(self, limit: int | None, seed: int, grammar: str) -> Iterator[Item]:
        """The first `limit` problems of the split; the same for the same seed, any limit.

        Drawing takes time. Raises UsageError where there are not as many.
        """
        drawn = 0
        limit = DRAWN if limit is None else limit
        for problem in islice(generate(self.numbers, self.split, seed, self.largest), limit):
            yield countdown_item(problem, grammar)
            drawn += 1
        if drawn < limit:
            raise UsageError(f"limit must be at most {drawn}, all this task has, got {limit}")

    def describe(self) -> dict[str, str]:
        """Nothing: the problems follow from name, limit and seed."""
        return {}


TASKS = {
    **{f"countdown{n}": Countdown(n) for n in (3, 4, 5)},
    **{f"countdown{n}_target": Countdown(n, "test_target") for n in (3, 4, 5)},
    **{f"countdown{n}_small": Countdown(n, "test", SMALL) for n in (4, 5)},
    **{f"countdown{n}_train": Countdown(n, "train") for n in (3, 4, 5)},
}
"""Held-out multisets of numbers; `_target`: with held-out targets too; `_small`: from 1 to 12.
`_train`: none held out; what the shipped model learnt from, for runs to imitate."""


KNOWN = ", ".join((*TASKS, *LOOKUPS, *DATASETS, "FILE.jsonl", "FILE.parquet", "NAME@FILE"))
"""What can be asked for, to show to people; NAME@FILE is a copy of a data set."""


def task_of(name: str) -> Task:
    """The task of that name. Raises UsageError naming those that exist."""
    found = TASKS.get(name) or LOOKUPS.get(name) or dataset_of(name)
    if found is None:
        raise UsageError(f"no task is called {name!r}; there is: {KNOWN}")
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """One task of an evaluation, as it was asked for."""

    name: str
    repeats: int
    title: str
    """The name without the path of a file."""
    folder: str
    """What its results are called where nothing else is said."""


def parse_tasks(text: str) -> list[Asked]:
    """The tasks of "aime24:16,math500@copy.jsonl": name and repeats, else the task's own number.

    Raises UsageError for anything else, and for what would share a folder.
    """
    found: dict[str, Asked] = {}
    for part in text.split(","):
        name, colon, repeats = part.strip().partition(":")
        if not name:
            raise UsageError(f"which task? for example: reason eval countdown4; there is: {KNOWN}")
        if colon and not (repeats.isascii() and repeats.isdecimal() and int(repeats) > 0):
            raise UsageError(f"expected TASK:REPEATS with repeats of 1 or more, got {part!r}")
        task = task_of(name)
        title = task.name if isinstance(task, Dataset) else name
        if title in found:
            raise UsageError(f"{title} is asked for twice, by {found[title].name} and {name}")
        times = int(repeats) if colon else task.repeats
        found[title] = Asked(name, times, title, f"{title}x{times}" if colon else title)
    return list(found.values())


_WHOLE = r"[0-9]{1,9}"
_ANY = r"[-\u2212]?[0-9]+(?:[./][0-9]+)?"
_LIMITS = (
    f"The shipped model solves Countdown with 3 to 5 numbers from 1 to {LARGEST_NUMBER} and a "
    f"target from {TARGETS[0]} to {TARGETS[-1]}; connect another model with --backend."
)


def parse_countdown(text: str) -> Problem | None:
    """A problem from "make 24 from 3 5 7 8" or "3 5 7 8 = 24"; None if the text is neither."""
    found = _read(text, _WHOLE)
    return Problem(tuple(map(int, found[1:])), int(found[0])) if found else None


def refusal(text: str) -> str:
    """Why the shipped model cannot be asked this text, which is no problem it reads."""
    for number in _read(text, _ANY):
        if "." in number or "/" in number:
            return f"{text!r}: {number} is no whole number. {_LIMITS}"
        if not number[0].isdigit():
            return f"{text!r}: {number} is negative. {_LIMITS}"
        if not re.fullmatch(_WHOLE, number):
            return f"{text!r}: {number} is out of range. {_LIMITS}"
    return (
        "this model reads Countdown problems only, such as 'make 24 from 3 5 7 8' or "
        f"'3 5 7 8 = 24', not {text!r}; for that connect a general model: "
        "--backend hf:PATH_OR_HUB_ID"
    )


def _read(text: str, number: str) -> list[str]:
    """The target and the numbers of a problem, each of which matches `number`; else nothing."""
    numbers = rf"(?P<numbers>{number}(?:(?:\s*,\s*and\s+|\s*,\s*|\s+and\s+|\s+){number})+)"
    target = rf"(?P<target>{number})"
    for form in (
        rf"{numbers}\s*(?:=|->|→|\bto\b)\s*{target}",
        rf"(?:make|reach|get)\s+{target}\s+(?:from|with|using|out\s+of)\s+"
        rf"(?:the\s+numbers\s+)?{numbers}",
    ):
        match = re.fullmatch(form, text.strip().rstrip(".!?"), re.IGNORECASE)
        if match:
            return [match["target"], *re.findall(number, match["numbers"])]
    return []


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
        if not steps:
            return answer
        if possible(steps, problem):
            return expression(steps, problem.numbers)
        return ", ".join(map(str, steps))

    return Item(str(problem), str(problem), prompt, lambda answer: fault(answer, problem), show)


def _check_range(problem: Problem) -> None:
    if not 3 <= len(problem.numbers) <= 5:
        raise UsageError(f"{problem} has {len(problem.numbers)} numbers. {_LIMITS}")
    for number in problem.numbers:
        if not 1 <= number <= LARGEST_NUMBER:
            raise UsageError(f"{problem}: {number} is out of range. {_LIMITS}")
    if problem.target not in TARGETS:
        raise UsageError(f"{problem}: the target {problem.target} is out of range. {_LIMITS}")
    if solve(problem.numbers, problem.target) is None:
        raise UsageError(
            f"{problem} has no solution with intermediate results up to 200, which is as far as "
            "the shipped model counts."
        )
