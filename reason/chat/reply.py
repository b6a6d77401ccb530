"""What a run says in the conversation."""

import re

from reason.account import Ending
from reason.chat.texts import Texts
from reason.errors import ReasonError
from reason.watch import clean

_MARKS = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|<eos>|<end_of_turn>")
"""Of a model's template, at the end of what it says."""


def reply_of(ending: Ending, texts: Texts, grammar: str = "") -> str | None:
    """The answer; where the thread that it came from said more after its thinking, all of that,
    and that alone where no answer was found in it.

    None where nothing was said, or only in a `grammar` for machines, and for a run that failed or
    was cut by its budget.
    """
    script = texts.scripts.get(ending.thread or "")
    said = _said(script.last()) if script and script.pieces else ""
    answer = ending.answer
    if answer is None:
        return None if grammar or ending.error or ending.limit else said or None
    if ending.found and ending.found in said and ending.found != answer:
        return answer  # of a grammar that only machines read
    if answer in said:
        return said
    return answer


def silence(ending: Ending) -> str:
    """Why a run has no answer."""
    limit = f"the run reached budget.{ending.limit}" if ending.limit else "the model found none"
    return clean(sentence(ending.error or limit))


def sentence(error: str) -> str:
    """What an error says, without the name of its class, which is for recordings."""
    name, _, said = error.partition(": ")
    return said if said and name in _kinds(ReasonError) else error


def _kinds(kind: type[ReasonError]) -> set[str]:
    return {kind.__name__}.union(*map(_kinds, kind.__subclasses__()))


def _said(text: str) -> str:
    """What stands behind the thinking, without the marks of templates and grammars."""
    text = _MARKS.sub("", text.rpartition("</think>")[2]).strip()
    return "" if re.search(r"<(ans|ret|go|spawn)>", text) else text
