"""The language of the model that looks things up: facts in contexts, a name, its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controllers.tags import TagSyntax
from reason.errors import UsageError
from reason.types import Contexts, Message, Prompt

BEGIN = "<bos> people: "
"""What stands before contexts where a user says nothing else."""


@dataclass(frozen=True, slots=True)
class LookupSyntax(TagSyntax):
    """`<bos> people: | Ana Oslo Bo Lima | … ? Ana`, answered by a word."""

    def serial(self, problem: Prompt, width: int) -> Prompt:
        """Marks are added where they are missing: before the contexts, each of them, the name."""
        if not isinstance(problem, Contexts):
            raise UsageError("the model lookup reads contexts: --controller ape 'contexts=@FILES'")
        return replace(
            problem,
            prefix=problem.prefix if "<bos>" in problem.prefix else BEGIN + problem.prefix,
            contexts=tuple(_marked("|", text) for text in problem.contexts),
            query=_marked("?", _said(problem.query)),
        )

    def answer(self, text: str) -> str | None:
        """The word before the end."""
        return text.removesuffix("<eos>").strip() or None


def _marked(mark: str, text: str) -> str:
    return text if text.lstrip().startswith(mark) else f"{mark} {text}"


def _said(query: str | Sequence[Message]) -> str:
    return query if isinstance(query, str) else query[-1]["content"]
