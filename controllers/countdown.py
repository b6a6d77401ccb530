"""The grammar of the Countdown models, in which one word is one token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from controllers.grammar import Task, ThreadFormat
from reason.errors import UsageError
from reason.question import Aside
from reason.types import Contexts, Prompt

_STEP = r"\d+ [-+*/] \d+ = \d+"
_STEPS = rf"{_STEP}(?: , {_STEP})*"

THREADS = ThreadFormat(
    header="<Thread> {number} :",
    between="",
    thread_end="</Thread>",
    unclosed="</Thread>",
    glue="",
    block_end="</Parallel>",
    block="<Parallel><Outlines>",
    outline=("<Outline>", ":", "</Outline>"),
    width=8,  # a block with all first operations of four numbers may fill the models' context
)


@dataclass(frozen=True, slots=True)
class CountdownSyntax:
    """The grammar of the Countdown models that ship with the package; rl/traces.py defines it, and
    rl/weaving.py and rl/attempts.py what belongs to outlines and to attempts.

    A problem is its target followed by its numbers: "24 3 5 7 8".
    """

    stops: tuple[str, ...] = ("<join>",)

    def serial(self, problem: Prompt, width: int) -> Prompt:
        return f"<bos> <seq> {_words(problem)} ; {width} <go>"

    def parallel(self, problem: Prompt, width: int) -> Prompt:
        return f"<bos> <par> {_words(problem)} ; {width} <go>"

    def child(self, task: Task) -> Prompt:
        return f"<bos> <sub> {task.message} <go>"

    def block(self, text: str) -> int:
        # These models write nothing else in a turn that spawns; what is no spawn stays.
        return 0 if self.tasks(text) else len(text)

    def tasks(self, text: str) -> list[Task]:
        found = re.findall(rf"({_STEP}) <spawn> (\d+(?: \d+)*?)(?= {_STEP} <spawn>| <join>)", text)
        return [Task(step, message) for step, message in found]

    def result(self, text: str) -> str | None:
        return _path("<ret>", text)

    def report(self, tasks: Sequence[Task], results: Sequence[str | None]) -> str:
        parts = [
            f"<res> {task.label} fail" if result is None else f"<res> {task.label} , {result}"
            for task, result in zip(tasks, results, strict=True)
        ]
        return " ".join([*parts, "<go>"])

    def answer(self, text: str) -> str | None:
        return _path("<ans>", text)

    @property
    def threads(self) -> ThreadFormat:
        return THREADS

    def woven(self, problem: Prompt, width: int) -> Prompt:
        return f"<bos> <weave> {_words(problem)} ; {width} <go>"

    def attempt(self, problem: Prompt, earlier: Sequence[str], width: int) -> Prompt:
        shown = "".join(f" <att> {solution}" for solution in earlier)
        return f"<bos> <try> {_words(problem)} ; {width}{shown} <go>"

    def beside(self, problem: Prompt, earlier: Sequence[str], width: int) -> Contexts:
        before = f"<bos> <try> {_words(problem)} ; {width}"
        return Contexts(tuple(f" <att> {each}" for each in earlier), " <go>", before)

    def revisited(self, problem: Prompt, earlier: Sequence[str]) -> Prompt:
        if earlier:
            raise UsageError(
                "a Countdown model was trained to read earlier attempts in a single thread only, "
                "not in a method: leave chain out, or ask for no round after the first (rounds= of "
                "pdr, rounds=0 of sr)"
            )
        return problem

    def summary(self, problem: Prompt, solutions: Sequence[str]) -> Prompt:
        raise _untrained("summarise attempts", "distil=random_k")

    def choice(self, problem: Prompt, solutions: Sequence[str], k: int) -> Prompt:
        raise _untrained("choose among attempts", "distil=random_k")

    def chosen(self, text: str, count: int, k: int) -> list[int] | None:
        return None

    def critique(self, problem: Prompt, solution: str) -> Prompt:
        raise _untrained("list the errors of an attempt", "analyse=false")

    def solution(self, text: str) -> str | None:
        match = re.search(rf"<ans> (tried {_STEPS}|{_STEPS}) <eos>$", text)
        return match[1] if match else None

    @property
    def thought_ends(self) -> tuple[str, ...]:
        return ("<ans>",)

    def judge(self, problem: Prompt, a: str, b: str) -> Prompt | None:
        return None

    def verdict(self, text: str) -> int | None:
        return None

    def thinking(self, text: str) -> bool:
        return False  # a search is read by whoever refines it

    def conclusion(self, text: str) -> str:
        return "<ans>"

    def more(self, thought: str) -> str | None:
        found = thought.rstrip().endswith("hit")  # then there is nothing left to look for
        return None if found else "wait"

    @property
    def endless(self) -> bool:
        return False

    @property
    def asides(self) -> tuple[Aside, ...]:
        return ()  # all but the answer is search

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ("no", "hit")


def _path(mark: str, text: str) -> str | None:
    """The steps between the mark and the end of the sequence, if that is all there is."""
    match = re.search(rf"{mark} ({_STEPS}) <eos>$", text)
    return match[1] if match else None


def _untrained(what: str, instead: str) -> UsageError:
    return UsageError(f"a Countdown model was not trained to {what}: give {instead}")


def _words(problem: Prompt) -> str:
    if not isinstance(problem, str):
        raise UsageError(
            "a Countdown model reads a problem such as '3 5 7 8 = 24', not a chat or contexts; "
            "connect another model with --backend for that, such as lookup for contexts"
        )
    return problem
