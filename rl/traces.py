"""What a Countdown model learns to write: search traces of one thread and of many.

One word is one token. `T` is the target, `k` how many children a spawn may have (0: one for every
first operation).

    <bos> <par> T a b c d ; k <go>   x op y = r <spawn> T c d r ... <join>     the root
        then, in place of that block:  <res> x op y = r , PATH | <res> x op y = r fail ... <go>
        and in the end:                <ans> PATH | fail <eos>
    <bos> <sub> T c d r <go>         SEARCH <ret> PATH | fail <eos>            a child
    <bos> <seq> T a b c d ; k <go>   x op y = r | c d r ; SEARCH ... <ans> PATH | fail <eos>

SEARCH of two numbers lists the four results (`.` where it cannot be the target) and ends with
`hit` or `no`; of three, it does so for every operation in turn. A child with four numbers or more
spawns like a root (k = 0) and returns like a child. What the model does not write itself - prompts
and reports - is context, never a target. Other layouts of the same search stand in rl/weaving.py
(outlines and threads) and rl/attempts.py (attempts that build on earlier ones).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from eval.countdown import TARGETS, Numbers, Problem, Step, moves, solve

ROUNDS = 4
"""Spawns after which a root with a limited width gives up."""
PROMISE = 2
"""Weight of a start from which the first spawn holds a solution, against 1 for any other."""
Words = list[str]


@dataclass(frozen=True, slots=True)
class Example:
    """One request to the model: the context it is given and what it must write."""

    kind: str
    context: Words
    written: Words
    silent: frozenset[int] = frozenset()
    """Places of what is written that are not learnt from: what others say in between."""


def path(steps: tuple[Step, ...]) -> Words:
    """A solution as words, steps separated by commas."""
    return " , ".join(map(str, steps)).split()


def prompt(mode: str, target: int, numbers: Numbers, width: int | None = None) -> Words:
    """The opening of a thread; `mode` is par, seq or sub, which takes no width."""
    tail = [] if width is None else [";", str(width)]
    return ["<bos>", f"<{mode}>", str(target), *map(str, numbers), *tail, "<go>"]


def _leaf(numbers: Numbers, target: int, out: Words) -> tuple[Step, ...] | None:
    x, y = max(numbers), min(numbers)
    values: dict[str, int | None] = dict.fromkeys("+-*/")
    for step, _ in moves(numbers):
        values[step.op] = step.result
    values["/"] = x if y == 1 else values["/"]
    for op, value in values.items():
        out.append(str(value) if value is not None and value <= TARGETS[-1] else ".")
        if value == target:
            out.append("hit")
            return (Step(x, op, y, target),)
    out.append("no")
    return None


def search(numbers: Numbers, target: int, out: Words) -> tuple[Step, ...] | None:
    """Exhaustive canonical search in one thread, appended to `out`; the first solution."""
    if len(numbers) == 2:
        return _leaf(numbers, target, out)
    for step, rest in moves(numbers):
        out += [*str(step).split(), "|", *map(str, rest[:-1])]
        if len(rest) > 2:
            out += [str(rest[-1]), ";"]
        tail = search(rest, target, out)
        if tail is not None:
            return (step, *tail)
    return None


def ending(word: str, steps: tuple[Step, ...] | None) -> Words:
    return [word, *(path(steps) if steps else ["fail"]), "<eos>"]


def rotated(problem: Problem, k: int, rng: random.Random) -> list[tuple[Step, Numbers]]:
    """The first operations in canonical order from a random start, round the end to all of them.

    Whoever reads the last operation listed knows the next, so that none comes twice over several
    spawns; attempts differ by their start. Starts whose first `k` operations hold one that leads
    to a solution come `PROMISE` times as often as others.
    """
    order = moves(problem.numbers)
    if not order:
        return []
    good = [solve(rest, problem.target) is not None for _, rest in order]
    ahead = [any((good * 2)[start : start + k]) for start in range(len(order))]
    start = rng.choices(range(len(order)), [PROMISE if found else 1 for found in ahead])[0]
    return [*order[start:], *order[:start]]


def child(numbers: Numbers, target: int, rng: random.Random) -> Iterator[Example]:
    """What a spawned thread writes: one request, or two around a join of its own."""
    opening = prompt("sub", target, numbers)
    if len(numbers) > 3:
        yield from _fan_out(opening, Problem(numbers, target), 0, rng, "child", "<ret>")
        return
    written: Words = []
    found = search(numbers, target, written)
    yield Example("child", opening, written + ending("<ret>", found))


def parallel(problem: Problem, k: int, rng: random.Random) -> Iterator[Example]:
    """The root's requests of an APR run with k children to a spawn (0: all at once)."""
    opening = prompt("par", problem.target, problem.numbers, k)
    yield from _fan_out(opening, problem, k, rng, "root", "<ans>")


def _fan_out(
    opening: Words, problem: Problem, k: int, rng: random.Random, kind: str, last: str
) -> Iterator[Example]:
    left = rotated(problem, k, rng) if k else list(moves(problem.numbers))
    context, rounds, width = opening, 0, k or len(left)
    while left and rounds < ROUNDS:
        batch, left, rounds = left[:width], left[width:], rounds + 1
        written: Words = []
        report: Words = []
        best = None
        for step, rest in batch:
            tail = solve(rest, problem.target)
            found = None if tail is None else (step, *tail)
            best = best or found
            written += [*str(step).split(), "<spawn>", str(problem.target), *map(str, rest)]
            report += ["<res>", *(path(found) if found else [*str(step).split(), "fail"])]
        yield Example(kind, context, [*written, "<join>"])
        context = [*context, *report, "<go>"]
        if best:
            yield Example(kind, context, ending(last, best))
            return
    yield Example(kind, context, ending(last, None))


def branch(step: Step, rest: Numbers, target: int, out: Words) -> tuple[Step, ...] | None:
    """A first operation and the search of what it leaves, appended to `out`; the solution."""
    out += [*str(step).split(), "|", *map(str, rest), ";"]
    tail = search(rest, target, out)
    return None if tail is None else (step, *tail)


def serial(problem: Problem, k: int, rng: random.Random) -> Example:
    """One thread that does it all: k first operations, or with k = 0 every one, in order."""
    order = rotated(problem, k, rng)[:k] if k else moves(problem.numbers)
    written: Words = []
    found = None
    for step, rest in order:
        found = branch(step, rest, problem.target, written)
        if found:
            break
    opening = prompt("seq", problem.target, problem.numbers, k)
    return Example("serial", opening, written + ending("<ans>", found))
