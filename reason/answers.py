"""Find, normalise and compare final answers. Shared by votes, graders and rewards."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_BRACES = re.compile(r"\\boxed\s*\{|\\[{}]|[{}]")


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` that is not empty and whose braces balance, which is
    the one after `</think>` where there is one; None if there is none."""
    last, found = -1, None
    opened: list[int | None] = []  # where the content of a box begins, None for another brace
    for brace in _BRACES.finditer(text):
        if brace[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and start > last:
                content = text[start : brace.start()].strip()
                last, found = (start, content) if content else (last, found)
        elif not brace[0].startswith(("\\{", "\\}")):
            opened.append(brace.end() if brace[0] != "{" else None)
    return found


def in_thought(text: str) -> bool:
    """Whether `boxed` had to take the answer from the thinking, since what was said after it, if
    anything, has none."""
    thought, closed, said = text.rpartition("</think>")
    if closed:
        return boxed(said) is None and boxed(thought) is not None
    return "<think>" in text and boxed(text) is not None


def normalise(answer: str) -> str:
    """The form in which answers are compared as text: spaces, dollar signs and a final period
    do not count, `007`, `7.0` and `+7` are 7."""
    text = re.sub(r"\s+|\\?\$|\\[,;!]", "", answer).rstrip(".")
    if re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        sign = "-" if text.startswith("-") else ""
        digits = text.lstrip("+-").partition(".")[0].lstrip("0") or "0"
        return digits if digits == "0" else sign + digits
    return text


def same(a: str | None, b: str | None) -> bool:
    """Whether two answers are the same once normalised; nothing equals a missing one."""
    return a is not None and b is not None and normalise(a) == normalise(b)


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote."""

    answer: str | None
    index: int
    """Of the first voter who gave the answer."""
    share: float
    """Of all voters, blanks included."""


def majority(answers: Sequence[str | None]) -> Vote:
    """The most common answer; ties go to the one given first, blanks do not vote."""
    forms = [None if a is None else normalise(a) for a in answers]
    counts = Counter(form for form in forms if form is not None)
    if not counts:
        return Vote(None, 0, 0.0)
    form, votes = counts.most_common(1)[0]
    index = forms.index(form)
    return Vote(answers[index], index, votes / len(answers))
