r"""How a model writes parallelism down: what it is told, what to run, what it reads back.

Two grammars: tags, for general chat models that learn them from the prompt, and the one-word
tokens of the Countdown models, which were trained on theirs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reason.answers import boxed
from reason.errors import UsageError
from reason.types import Message, Prompt

STEP_BY_STEP = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Task:
    """What one child is asked."""

    label: str
    """What the parent called it."""
    message: str
    """All that the child gets to see."""


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


@dataclass(frozen=True, slots=True)
class TagSyntax:
    """`<spawn><task>…</task>…</spawn>`, answered by `<join><result>…</result>…</join>`.

    The structure of APR (Pan et al. 2025, section 3) in the tags that ThreadWeaver and Parallel-R1
    made usual, for any model that follows instructions.
    """

    stops: tuple[str, ...] = ("</spawn>", "<join>")

    def serial(self, problem: Prompt, width: int) -> Prompt:
        return _ask(problem, STEP_BY_STEP)

    def parallel(self, problem: Prompt, width: int) -> Prompt:
        many = f"exactly {width} tasks" if width else "as many tasks as help"
        return _ask(
            problem,
            "You can hand parts of the work to helpers who work at the same time. To do so, write\n"
            "<spawn>\n<task>everything the first helper must know</task>\n"
            "<task>everything the second helper must know</task>\n</spawn>\n"
            f"with {many} in the block, and stop. Helpers see only the text of their task. Their "
            "results come back to you as\n<join>\n<result>…</result>\n<result>…</result>\n</join>\n"
            "in the same order; then go on. Never write a <join> block yourself. "
            "Spawn only what can be done independently. " + STEP_BY_STEP,
        )

    def child(self, task: Task) -> Prompt:
        return _ask(
            task.message, "Solve this, and put what you found within <result> and </result>."
        )

    def block(self, text: str) -> int:
        if self.tasks(text):
            return text.rindex("<spawn>")
        begun = text.rfind("<join>")  # by a model that would write the results itself
        return begun if begun >= 0 else len(text)

    def tasks(self, text: str) -> list[Task]:
        _, opened, block = text.rpartition("<spawn>")
        parts = block.split("<task>")[1:] if opened else []
        found = (part.partition("</task>") for part in parts)
        read = [inside.strip() for inside, closed, _ in found if closed and inside.strip()]
        return [Task(str(i), message) for i, message in enumerate(read, 1)]

    def result(self, text: str) -> str | None:
        _, thought, said = text.rpartition("</think>")
        _, _, found = (said if thought else text).rpartition("<result>")
        return found.partition("</result>")[0].strip() or None

    def report(self, tasks: Sequence[Task], results: Sequence[str | None]) -> str:
        lines = [f"<result>{r if r is not None else 'no result'}</result>\n" for r in results]
        return "\n<join>\n" + ("".join(lines) or "no task could be read\n") + "</join>\n"

    def answer(self, text: str) -> str | None:
        return boxed(text)


_STEP = r"\d+ [-+*/] \d+ = \d+"


@dataclass(frozen=True, slots=True)
class CountdownSyntax:
    """The grammar of the Countdown models that ship with the package; see rl/traces.py.

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
        return 0  # these models write nothing else in a turn that ends with a spawn

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


def _path(mark: str, text: str) -> str | None:
    """The steps between the mark and the end of the sequence, if that is all there is."""
    match = re.search(rf"{mark} ({_STEP}(?: , {_STEP})*) <eos>$", text)
    return match[1] if match else None


def _words(problem: Prompt) -> str:
    if not isinstance(problem, str):
        raise UsageError(
            "a Countdown model reads a problem such as '3 5 7 8 = 24', not a conversation; "
            "connect another model with --backend for that"
        )
    return problem


def _ask(problem: Prompt, instruction: str) -> Prompt:
    if isinstance(problem, str):
        return [Message(role="user", content=f"{problem}\n\n{instruction}")]
    *before, last = problem
    return [*before, Message(role=last["role"], content=f"{last['content']}\n\n{instruction}")]


SYNTAXES: dict[str, Syntax] = {"tags": TagSyntax(), "countdown": CountdownSyntax()}


def syntax_of(name: str) -> Syntax:
    """The grammar of that name. Raises UsageError naming those that exist."""
    if name not in SYNTAXES:
        raise UsageError(f"no syntax is called {name!r}; there is: {', '.join(SYNTAXES)}")
    return SYNTAXES[name]
