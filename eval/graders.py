"""Whether an answer is the reference, and what is wrong with it if not.

A grader never raises over an answer and never takes long: what can hang, crash or eat memory runs
in a sandbox, and an answer lost there is wrong, with that reason.
"""

import os
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

from eval.item import UNDECIDED
from eval.sandbox import Lost, Reply, Sandbox
from reason.answers import same
from reason.errors import UsageError

LONGEST = 1000
"""Characters of an answer, as in eval.verifier."""

_AROUND = [
    re.compile(pattern, re.DOTALL)
    for pattern in (r"\$+([^$]+)\$+", r"\\\((.+)\\\)", r"\\\[(.+)\\\]", r"\*\*([^*]+)\*\*")
]
_BRACE = re.compile(r"(?:\\(?:boxed|mathbf|textbf|mathrm|boldsymbol|displaystyle)\s*)?\{")
_TAIL = re.compile(r"(?:\\[,;:! ]|\\q?quad(?![a-zA-Z])|[\s~.,;])+$")
_GROUP = r"(?:(?:\{,\}|,?\\[,!]|~|\s)\s*|,)"
_GROUPED = re.compile(rf"(?<![\d.,])[1-9]\d{{0,2}}(?:{_GROUP}\d{{3}})+(?!\d)")
_NAME = r"(?:[A-Za-z](?:_\{?\w+\}?)?\s*=\s*)?"
_SIGN = r"(?:\\?\$\s*)?(?P<sign>[-+\u2212]?)\s*(?:\\?\$\s*)?"
_UNIT = (
    r"\s*(?:\^\{?\\circ\}?|\u00b0|\\(?:text|mathrm|mbox|textrm)\s*\{[^{}\d]*\}(?:\^\{?\d\}?)?"
    r"|(?<=\s)[a-zA-Z]{2,}(?:\s+[a-zA-Z]+)*)?"
)
_THOUSANDS = re.compile(rf"{_NAME}{_SIGN}{_GROUPED.pattern}(?:\.\d+)?(?:\\?%|{_UNIT})")
_WHOLE = re.compile(rf"{_NAME}{_SIGN}(?P<digits>\d+)(?:\.0*)?{_UNIT}", re.ASCII)
_BASE = re.compile(r"_\{?(?P<base>\d+)\}?$")


class Grader(Protocol):
    """One way to hold an answer against a reference."""

    def fault(self, answer: str, reference: str) -> str | None:
        """What is wrong with the answer; None for a right one."""
        ...

    def refusal(self, reference: str) -> str | None:
        """Why no answer can be held against this reference; None for a good one."""
        ...


def grade(grader: Grader, answer: str | None, reference: str) -> str | None:
    """What is wrong with an answer that may be missing, or of any length; None for a right one."""
    if answer is None:
        return "there is no answer"
    if len(answer) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    return grader.fault(answer, reference)


class Integers:
    """For AIME: 0 to 999 there, any integer here."""

    def fault(self, answer: str, reference: str) -> str | None:
        found, wanted = whole(answer), whole(reference)
        if found is None:
            return "it is no integer"
        return None if found == wanted else f"it is {found}, not {reference}"

    def refusal(self, reference: str) -> str | None:
        return None if whole(reference) is not None else "it is no integer"


class Choices:
    """For GPQA: the letter of a choice."""

    def fault(self, answer: str, reference: str) -> str | None:
        found = letter(answer)
        if found is None:
            return "it is no letter of a choice"
        return None if found == reference else f"it is {found}, not {reference}"

    def refusal(self, reference: str) -> str | None:
        return None if letter(reference) == reference else "it is no letter of a choice"


class Mathematics:
    """For everything else: the same value, by math-verify in a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        # Models repeat themselves, and a scorer may have asked before.
        self._compared = lru_cache(maxsize=4096)(self._compare)

    def fault(self, answer: str, reference: str) -> str | None:
        if same(answer, reference):
            return None
        answer, reference = tidy(answer), tidy(reference)
        if same(answer, reference):
            return None
        bases = [found["base"] for text in (answer, reference) if (found := _BASE.search(text))]
        if len(set(bases)) > 1:  # to math-verify the base is an index, and 52_8 is 52
            return f"it is in base {bases[0]}, not {bases[1]}"
        return self._compared(answer, reference)

    def refusal(self, reference: str) -> str | None:
        if len(reference) > LONGEST:
            return f"it is longer than {LONGEST} characters"
        try:
            reply = self._ask({"reference": tidy(reference)})
        except Lost as lost:
            return f"it cannot be read: {lost}"
        return None if reply["reference"] else "it cannot be read as mathematics"

    def _compare(self, answer: str, reference: str) -> str | None:
        try:
            reply = self._ask({"answer": answer, "reference": reference})
        except Lost as lost:
            return f"{UNDECIDED} with {reference}: {lost}"
        if reply["same"]:
            return None
        return f"it is not {reference}" if reply["answer"] else "it cannot be read as mathematics"

    def _ask(self, request: Reply) -> Reply:
        if find_spec("math_verify") is None:
            raise UsageError(
                "math_verify is needed for that and not installed: "
                'pip install "reason-engine[eval]"'
            )
        return self._sandbox.ask(request)


EQUALITY = ("-m", "eval.equality")
GRADERS: dict[str, Grader] = {
    "math": Mathematics(Sandbox(EQUALITY, size=min(4, os.cpu_count() or 1))),
    "integer": Integers(),
    "choice": Choices(),
}
"""Every grader by the name that a dataset gives."""


def tidy(text: str) -> str:
    """Without what surrounds an answer: dollar signs, bold type, a final period; and with the
    thousands of a number joined. A list such as "1, 600" stays one."""
    before = None
    while text != before:
        before = text
        text = _inside(_TAIL.sub("", text).strip()).strip()
    if _THOUSANDS.fullmatch(text):
        text = _GROUPED.sub(lambda number: re.sub(r"\D", "", number[0]), text, count=1)
    return text


def _inside(text: str) -> str:
    """What stands between marks or braces that enclose all of it."""
    for mark in _AROUND:
        if found := mark.fullmatch(text):
            return found[1]
    if (brace := _BRACE.match(text)) and text.endswith("}"):
        depth = 1
        for place in range(brace.end(), len(text) - 1):
            depth += {"{": 1, "}": -1}.get(text[place], 0) * (text[place - 1] != "\\")
            if depth == 0:
                return text
        return text[brace.end() : -1] if text[-2] != "\\" else text
    return text


def whole(text: str) -> int | None:
    """The integer that an answer is, with or without a unit or `n =` before it; else None."""
    bare = re.sub(r"^\\text\{([^{}]*)\}$", r"\1", tidy(text)).strip()
    found = _WHOLE.fullmatch(bare)
    return int(found["sign"].replace("\u2212", "-") + found["digits"]) if found else None


def letter(text: str) -> str | None:
    """The letter of a choice: C from "C", "(C)", "C. 10 m", `\\text{C}`; else None."""
    bare = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", tidy(text))
    found = re.match(r"\s*\(?([A-Z])(?:\s*$|\)|[.:])", bare)
    return found[1] if found else None
