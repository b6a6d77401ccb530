"""No grammar: a general chat model is asked what the user asked, and nothing is added."""

from dataclasses import dataclass

from controllers.tags import THINKING, TagSyntax
from reason.question import Aside
from reason.types import Prompt


@dataclass(frozen=True, slots=True)
class PlainSyntax(TagSyntax):
    """The answer is all that is written behind the thinking. Calls of other kinds, such as an
    attempt that reads earlier ones, are those of tags."""

    def serial(self, problem: Prompt, width: int) -> Prompt:
        return problem

    def answer(self, text: str) -> str | None:
        return self.solution(text)

    @property
    def endless(self) -> bool:
        return True

    @property
    def asides(self) -> tuple[Aside, ...]:
        return (THINKING,)
