"""Find, normalise and compare final answers. Shared by votes, graders and rewards."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces balance, preferring what follows
    `</think>`; None if there is none."""
    _, thought, said = text.rpartition("</think>")
    return _last_boxed(said) or (_last_boxed(text) if thought else None)


def _last_boxed(text: str) -> str | None:
    end = len(text)
    while (start := text.rfind("\\boxed{", 0, end)) >= 0:
        depth = 0
        for i in range(start + len("\\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                return text[start + len("\\boxed{") : i].strip()
        end = start
    return None


def normalise(answer: str) -> str:
    """The form in which answers are compared as text: spaces, dollar signs and a final period
    do not count, `007`, `7.0` and `+7` are 7."""
    text = re.sub(r"\s+|\$|\\[,;!]", "", answer).rstrip(".")
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
