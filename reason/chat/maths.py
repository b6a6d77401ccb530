"""LaTeX as it can be read in a terminal."""

import logging
import re
from collections.abc import Callable

from pylatexenc.latex2text import LatexNodes2Text

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.S)
_MATHS = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\\\[(?P<bracket>.+?)\\\]|\\\((?P<round>.+?)\\\)"
    r"|(?<![\w\\$])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\w$])",
    re.S,
)
_BARE = re.compile(r"\\(?:boxed|frac|dfrac|tfrac|sqrt)\b")
_SUPER = dict(zip("0123456789+-=()niabcdefghjklmoprstuvwxyz",
                  "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵃᵇᶜᵈᵉᶠᵍʰʲᵏˡᵐᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True))  # fmt: skip
_SUB = dict(zip("0123456789+-=()aeoxhklmnpstijruv",
                "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼᵣᵤᵥ", strict=True))  # fmt: skip
_RELATION = re.compile(r"(\\(?:leq?|geq?|neq?|approx|equiv|sim|to|in|cdot|times|pm|mid|lor|land)) ")
"""The space behind which is no end of a command."""
_SCRIPT = re.compile(r"([\^_])(\{[^{}]*\}|\\?[A-Za-z]+(?![A-Za-z])|.)", re.S)
logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)  # a terminal is no place for its words
_READER = LatexNodes2Text(math_mode="text", strict_latex_spaces=False)


def readable(text: str, markdown: bool = False) -> str:
    """Text with its formulas in Unicode; code stays as it is. Of `markdown` they are written so
    that they do not read as marks of it."""
    parts = _CODE.split(text)
    return "".join(part if n % 2 else _formulas(part, markdown) for n, part in enumerate(parts))


def _formulas(text: str, markdown: bool) -> str:
    def written(latex: str) -> str:
        return (
            re.sub(r"([*_`\[\]\\<>|~#])", r"\\\1", formula(latex)) if markdown else formula(latex)
        )

    def said(found: re.Match[str]) -> str:
        inside = next(group for group in found.groups() if group is not None)
        block = found["display"] is not None or found["bracket"] is not None
        return f"\n\n{written(inside)}\n\n" if block else written(inside)

    found = _bare(_MATHS.sub(said, text), written)
    return re.sub(r"(?<!\\)<", r"\<", found) if markdown else found  # a model's tags are no HTML


def _bare(text: str, written: Callable[[str], str]) -> str:
    r"""Commands outside of formulas, as in "so \boxed{42}", each with its arguments."""
    out, at = [], 0
    while found := _BARE.search(text, at):
        end = _arguments(text, found.end(), 2 if "frac" in found[0] else 1)
        out.append(text[at : found.start()])
        out.append(written(text[found.start() : end]) if end > found.end() else found[0])
        at = end
    return "".join((*out, text[at:]))


def _arguments(text: str, at: int, most: int) -> int:
    """Where up to so many groups in braces, and one in brackets, end that begin there."""
    option = re.compile(r"\[[^\]\n]*\]").match(text, at)
    at = option.end() if option else at
    for _ in range(most):
        if at >= len(text) or text[at] != "{":
            return at
        depth, end = 0, at
        for end in range(at, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0) * (text[end - 1] != "\\")
            if not depth:
                break
        if depth:
            return at
        at = end + 1
    return at


def formula(latex: str) -> str:
    """One formula in Unicode, on one line unless it has lines of its own; as it is where it cannot
    be read."""
    if latex.count("{") != latex.count("}"):
        return latex
    source = re.sub(r"\\boxed\s*(?=\{)", r"\\mathrm", latex)
    source = re.sub(r"\\[dt]frac\b", r"\\frac", source)
    source = re.sub(r"\\(?:left|right|displaystyle|limits|big|Big|bigg|Bigg)\b\.?", "", source)
    source = re.sub(r"\\sqrt\s*\[(\w)\]", lambda m: _SUPER.get(m[1], m[1]) + r"\sqrt", source)
    source = re.sub(r"\\frac\s*\{([^{}]*[+\- ][^{}]*)\}\s*(?=\{)", r"\\frac{(\1)}", source)
    source = re.sub(r"(\\frac\s*\{[^{}]*\}\s*)\{([^{}]*[+\- *][^{}]*)\}", r"\1{(\2)}", source)
    source = _RELATION.sub(r"\1{} ", source)
    source = re.sub(r"(?<!\\)%", r"\\%", source)
    try:
        text = _READER.latex_to_text(_SCRIPT.sub(_script, source))
    except (ValueError, IndexError, RecursionError):  # what its parser says of broken formulas
        return latex
    if "%s" in text:  # a command whose arguments are missing
        return latex
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(line for line in lines if line) or latex


def _script(found: re.Match[str]) -> str:
    """A small number or letter above or below, where Unicode has all of it."""
    mark, inside = found[1], found[2].removeprefix("{").removesuffix("}").strip()
    small = _SUPER if mark == "^" else _SUB
    if inside and all(character in small for character in inside.replace(" ", "")):
        if not found[2].startswith("{"):
            return "{}" + small[inside[0]] + inside[1:]
        return "{}" + "".join(small.get(character, "") for character in inside)
    if found[2].startswith("{") and len(inside) > 1:
        return f"{mark}({inside})"
    return found[0]
