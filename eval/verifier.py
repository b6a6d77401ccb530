"""Whether an answer to a Countdown problem is right, and what is wrong with it if not.

Strict: every number exactly once, integers of 0 or more on the way, the target at the end. Nothing
is ever evaluated as code.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from eval.countdown import Problem, Step, apply, parse_steps

LONGEST = 1000
"""Characters of an answer."""

_UNREADABLE = "it is neither steps nor one expression in + - * /"
_SIGNS = {"\\times": "*", "\\cdot": "*", "\\div": "/", "\u00d7": "*", "\u00f7": "/", "\u2212": "-"}
_ARITHMETIC = re.compile(r"[0-9\s()+*/-]+")
_OPS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def verify(answer: str | None, problem: Problem) -> bool:
    """Whether the answer, a list of steps or one expression, solves the problem."""
    return fault(answer, problem) is None


def fault(answer: str | None, problem: Problem) -> str | None:
    """What is wrong with the answer; None for a right one."""
    if answer is None:
        return "there is no answer"
    if len(answer) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    steps = parse_steps(answer)
    try:
        _expression_holds(answer, problem) if steps is None else _steps_hold(steps, problem)
    except _Wrong as wrong:
        return str(wrong)
    return None


def possible(steps: Sequence[Step], problem: Problem) -> bool:
    """Whether every step can be taken, wherever they lead."""
    try:
        _walk(steps, problem)
    except _Wrong:
        return False
    return True


class _Wrong(Exception):
    """Why an answer is wrong."""


def _steps_hold(steps: Sequence[Step], problem: Problem) -> None:
    *unused, reached = _walk(steps, problem)
    if unused:
        raise _Wrong(f"it leaves {_listed(unused)} unused")
    if reached != problem.target:
        raise _Wrong(f"it makes {reached}, not {problem.target}")


def _walk(steps: Sequence[Step], problem: Problem) -> list[int]:
    """The numbers that are left after the steps, the last result at the end."""
    pool = list(problem.numbers)
    for step in steps:
        for operand in (step.left, step.right):
            if operand not in pool:
                raise _Wrong(f"no {operand} is left for {step}")
            pool.remove(operand)
        result = _applied(step.op, step.left, step.right)
        if result != step.result:
            raise _Wrong(f"{step.left} {step.op} {step.right} is {result}, not {step.result}")
        pool.append(result)
    return pool


def _expression_holds(text: str, problem: Problem) -> None:
    for sign, op in _SIGNS.items():
        text = text.replace(sign, op)
    text, _, claimed = text.partition("=")
    if not _ARITHMETIC.fullmatch(text):
        raise _Wrong(_UNREADABLE)
    if claimed.strip() not in ("", str(problem.target)):
        raise _Wrong(f"it says = {claimed.strip()}, not = {problem.target}")
    used: list[int] = []

    def value(node: ast.AST) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPS:
            return _applied(_OPS[type(node.op)], value(node.left), value(node.right))
        raise _Wrong(_UNREADABLE)

    try:
        reached = value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Wrong(_UNREADABLE) from None
    if Counter(used) != Counter(problem.numbers):
        raise _Wrong(f"it uses {_listed(sorted(used))}, not {_listed(sorted(problem.numbers))}")
    if reached != problem.target:
        raise _Wrong(f"it makes {reached}, not {problem.target}")


def _applied(op: str, left: int, right: int) -> int:
    result = apply(op, left, right)
    if result is None:
        raise _Wrong(f"{left} {op} {right} is no integer of 0 or more")
    return result


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
