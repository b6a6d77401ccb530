"""Grammars of tags, for general chat models, which learn them from the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controllers.grammar import Task, ThreadFormat
from reason.answers import boxed
from reason.question import Aside
from reason.types import Contexts, Message, Prompt, spoken

EARLIER = "Here are earlier attempts at this problem. Each may be right, partly right or wrong."
IMPROVE = (
    "Check them against the problem and against each other, keep what holds, and write one better "
    "solution of your own."
)
STEP_BY_STEP = "Please reason step by step, and put your final answer within \\boxed{}."


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

    @property
    def threads(self) -> ThreadFormat:
        return THREADS

    def woven(self, problem: Prompt, width: int) -> Prompt:
        many = f"exactly {width} outlines" if width else "two or more outlines"
        return _ask(
            problem,
            "When parts of the work do not depend on each other, have them done at the same time: "
            "write\n<Parallel>\n<Outlines>\n<Outline>1: what the first part will do</Outline>\n"
            "<Outline>2: what the second part will do</Outline>\n</Outlines>\n"
            f"with {many}, numbered from 1, without any results in them. Each is then worked out "
            "in a thread\n<Thread>\n1: …\n</Thread>\nthat sees everything before the block and "
            "all outlines, but no other thread. After the threads write </Parallel> and go on with "
            "what they found. Write no block inside a thread. " + STEP_BY_STEP,
        )

    def attempt(self, problem: Prompt, earlier: Sequence[str], width: int) -> Prompt:
        if not earlier:
            return _ask(problem, STEP_BY_STEP)
        return _ask(problem, f"{_improve(earlier)} {STEP_BY_STEP}")

    def beside(self, problem: Prompt, earlier: Sequence[str], width: int) -> Contexts:
        *before, last = _add(spoken(problem), EARLIER)
        shown = tuple(f"Solution {n}:\n{said.strip()}\n\n" for n, said in enumerate(earlier, 1))
        asked = Message(role="user", content=f"{IMPROVE} {STEP_BY_STEP}")
        return Contexts(shown, [*before, asked], f"{last['content']}\n\n")

    def revisited(self, problem: Prompt, earlier: Sequence[str]) -> Prompt:
        return _ask(problem, _improve(earlier)) if earlier else problem

    def summary(self, problem: Prompt, solutions: Sequence[str]) -> Prompt:
        return _ask(
            problem,
            f"Here are attempts at this problem.\n\n{_listed(solutions)}\n\n"
            "Do not solve it yourself yet. Summarise them for somebody who will: what they agree "
            "on, where they contradict each other and who is right, which facts are established, "
            "what is still open, and what to do next.",
        )

    def choice(self, problem: Prompt, solutions: Sequence[str], k: int) -> Prompt:
        return _ask(
            problem,
            f"Here are attempts at this problem.\n\n{_listed(solutions)}\n\n"
            f"Which {k} are most likely right, or of most use to somebody who tries again? Give "
            f"exactly {k} of their numbers, with commas between them, within <best> and </best>.",
        )

    def chosen(self, text: str, count: int, k: int) -> list[int] | None:
        _, opened, rest = text.rpartition("<best>")
        inside, closed, _ = rest.partition("</best>")
        words = [word.strip() for word in inside.split(",")]
        if not (opened and closed and all(word.isascii() and word.isdigit() for word in words)):
            return None
        picked = [int(word) - 1 for word in words]
        fair = len(set(picked)) == len(picked) == k and all(0 <= i < count for i in picked)
        return picked if fair else None

    def critique(self, problem: Prompt, solution: str) -> Prompt:
        return _ask(
            problem,
            f"Here is an attempt at this problem.\n\n{solution.strip()}\n\n"
            "List its errors: every step that does not follow, every number that is wrong, all "
            "that the problem asks for and the attempt leaves out. If there are none, say so. Do "
            "not write a new solution.",
        )

    def solution(self, text: str) -> str | None:
        _, thought, said = text.rpartition("</think>")
        if not thought and "<think>" in text:
            return None  # it never came to a solution
        return (said if thought else text).strip() or None

    @property
    def thought_ends(self) -> tuple[str, ...]:
        return ("</think>",)

    def judge(self, problem: Prompt, a: str, b: str) -> Prompt | None:
        return _ask(
            problem,
            f"Here are two solutions of this problem.\n\nSolution A:\n{a.strip()}\n\n"
            f"Solution B:\n{b.strip()}\n\nCheck both step by step. Which one is more likely right? "
            "End with <better>A</better> or <better>B</better>.",
        )

    def verdict(self, text: str) -> int | None:
        _, opened, found = text.rpartition("<better>")
        named, closed, _ = found.partition("</better>")
        return {"A": 0, "B": 1}.get(named.strip()) if opened and closed else None

    def thinking(self, text: str) -> bool:
        return text.rfind("<think>") > text.rfind("</think>")

    def conclusion(self, text: str) -> str:
        return "\n</think>\n\n" if self.thinking(text) else "\n\nFinal answer: \\boxed{"

    def more(self, thought: str) -> str | None:
        return "Wait" if "<think>" in thought else "\n\nWait"

    @property
    def endless(self) -> bool:
        return False

    @property
    def asides(self) -> tuple[Aside, ...]:
        return (THINKING, *BLOCKS)

    @property
    def step_ends(self) -> tuple[str, ...]:
        return ("\n\n",)


THINKING = Aside("<think>", "</think>", thought=True)
BLOCKS = (
    Aside("<spawn>", "</spawn>"),
    Aside("<join>", "</join>"),
    Aside("<Parallel>", "</Parallel>"),
)
THREADS = ThreadFormat(
    header="\n<Thread>\n{number}:",
    between="\n",
    thread_end="</Thread>",
    unclosed="\n</Thread>",
    glue="\n",
    block_end="</Parallel>",
    block="<Parallel>\n<Outlines>\n",
    outline=("<Outline>", ": ", "</Outline>\n"),
)


def _listed(solutions: Sequence[str]) -> str:
    parts = enumerate(solutions, 1)
    return "\n\n".join(f"Solution {number}:\n{said.strip()}" for number, said in parts)


def _improve(earlier: Sequence[str]) -> str:
    return f"{EARLIER}\n\n{_listed(earlier)}\n\n{IMPROVE}"


def _ask(problem: Prompt, instruction: str) -> Prompt:
    if isinstance(problem, Contexts):
        return replace(problem, query=_add(problem.query, instruction))
    return _add(problem, instruction)


def _add(problem: str | Sequence[Message], instruction: str) -> list[Message]:
    if isinstance(problem, str):
        return [Message(role="user", content=f"{problem}\n\n{instruction}")]
    *before, last = problem
    return [*before, Message(role=last["role"], content=f"{last['content']}\n\n{instruction}")]
