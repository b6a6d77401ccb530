"""Other ways to write an answer, which are right, and answers that only look like it."""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

_INTEGER = re.compile(r"-?\d+")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_FRACTION = re.compile(r"(?P<sign>-?)\\d?frac\{(?P<over>\d+)\}\{(?P<under>\d+)\}")
_MIXED = re.compile(r"(?P<whole>\d+)\s*\\frac\{(?P<over>\d+)\}\{(?P<under>\d+)\}")


def plain(reference: str) -> str:
    """A number without thousands separators or a dollar sign."""
    bare = re.sub(r",\\!\s*|(?<=\d),(?=\d{3})|\\\$", "", reference)
    return bare if re.fullmatch(r"-?\d*\.?\d+", bare) else reference


def rewritings(reference: str) -> Iterator[str]:
    """The same answer, written otherwise."""
    number = plain(reference)
    yield f"${reference}$"
    yield f"\\({reference}\\)"
    yield f"  {reference} . "
    yield f"\\boxed{{{reference}}}"
    yield f"\\mathbf{{{reference}}}"
    yield reference.replace("+", " + ").replace("=", " = ").replace(", ", " , ") + "\\,"
    if "\\left" in reference:
        yield reference.replace("\\left", "").replace("\\right", "")
    elif re.fullmatch(r"[(\[].*[)\]]", reference) and reference.count("(") < 2:
        yield f"\\left{reference[:-1]}\\right{reference[-1]}"
    if "\\frac{" in reference:
        yield reference.replace("\\frac", "\\dfrac")
        yield reference.replace("\\frac", "\\tfrac")
    if re.search(r"(?<=_)\d$", reference):
        yield f"{reference[:-1]}{{{reference[-1]}}}"
    if "^\\circ" in reference:
        yield reference.replace("^\\circ", "")
        yield reference.replace("^\\circ", "^{\\circ}")
        yield reference.replace("^\\circ", "\\text{ degrees}")
    if fraction := _FRACTION.fullmatch(reference):
        value = Fraction(int(fraction["over"]), int(fraction["under"]))
        yield f"{fraction['sign']}{fraction['over']}/{fraction['under']}"
        yield f"{fraction['sign']}\\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}"
        if 10**6 % value.denominator == 0:
            yield f"{fraction['sign']}{Decimal(value.numerator) / Decimal(value.denominator)}"
    if mixed := _MIXED.fullmatch(reference):
        over = int(mixed["whole"]) * int(mixed["under"]) + int(mixed["over"])
        yield f"\\frac{{{over}}}{{{mixed['under']}}}"
    if _DECIMAL.fullmatch(number):
        value = Fraction(number)
        yield f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
        yield f"{number}0"
    if _INTEGER.fullmatch(number):
        yield f"{number}.0"
        yield f"n = {number}"
        yield f"{number}^\\circ"
        yield f"{number}\\text{{ cm}}^2"
        yield f"{number} apples"
        for comma in (",", "{,}", ",\\!", "\\,"):
            yield f"{int(number):,}".replace(",", comma)


def in_words(reference: str) -> str:
    """A whole response with the answer in it."""
    return f"<think>Is it \\boxed{{0.123}}? No.</think>So the answer is $\\boxed{{{reference}}}$."


def perturbations(reference: str) -> Iterator[str]:
    """Answers that look like it and are wrong."""
    other = "17" if reference != "17" else "18"
    yield "\\text{none of these}"
    yield f"({reference})+1"
    yield f"{reference}, {other}"
    if plain(reference) not in ("0", "0.0"):
        yield reference[1:] if reference.startswith("-") else f"-({reference})"
    for number in re.finditer(r"(?<!\^)(?<!\^\{)\d+", reference):
        more = str(int(number[0]) + 1)
        yield reference[: number.start()] + more + reference[number.end() :]
    if fraction := _FRACTION.fullmatch(reference):
        yield f"{fraction['sign']}\\frac{{{fraction['under']}}}{{{fraction['over']}}}"
    if pair := re.fullmatch(r"\(([^(),]+),([^(),]+)\)", reference):
        yield f"({pair[2]},{pair[1]})"
    if re.search(r", |\D,\d|\d,\D", reference) and "begin" not in reference:
        yield reference.partition(",")[0]
