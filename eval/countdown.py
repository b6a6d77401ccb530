"""Countdown: reach a target from given integers, each used exactly once, with + - * /.

Intermediate results are integers in 0..LIMIT (the shipped model has one token per integer up to
there). Generation and hold-out follow the Stream-of-Search and APR protocols: numbers uniform in
1..99, target uniform in 10..100, numbers redrawn for the same target until solvable; some targets
and some multisets of numbers are never trained on (Gandhi et al. 2024; Pan et al. 2025, section 4).
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

LIMIT = 200
"""Largest intermediate result."""
LARGEST_NUMBER = 99
TARGETS = range(10, 101)
HELD_OUT_TARGETS = frozenset(random.Random("held-out targets").sample(TARGETS, 9))
"""Never trained on: 9 of 91, the Stream-of-Search share."""
SPLITS = ("train", "val", "test", "test_target")
PATIENCE = 5_000
"""Draws in a row without a new problem after which those that are left are listed."""

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Reach `target` from `numbers`."""

    numbers: Numbers
    target: int

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.numbers))} = {self.target}"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation `left op right = result`, the larger operand on the left."""

    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.result}"


def apply(op: str, x: int, y: int) -> int | None:
    """`x op y` in the integers, or None where that is no integer of 0 or more."""
    if op == "+":
        return x + y
    if op == "*":
        return x * y
    if op == "-":
        return x - y if x >= y else None
    if op == "/":
        return x // y if y and x % y == 0 else None
    return None


@lru_cache(maxsize=100_000)
def moves(numbers: Numbers, limit: int = LIMIT) -> tuple[tuple[Step, Numbers], ...]:
    """Every first operation with the numbers it leaves, in the canonical order.

    Pairs by position, then + - * /; the larger operand first; the result goes last. Dividing by 1
    is left out, since multiplying by 1 says the same.
    """
    found = []
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            x, y = max(numbers[i], numbers[j]), min(numbers[i], numbers[j])
            rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
            for op in "+-*/":
                result = None if op == "/" and y == 1 else apply(op, x, y)
                if result is not None and result <= limit:
                    found.append((Step(x, op, y, result), (*rest, result)))
    return tuple(found)


@lru_cache(maxsize=200_000)
def solve(numbers: Numbers, target: int, limit: int = LIMIT) -> tuple[Step, ...] | None:
    """The first solution in canonical depth-first order, or None; exact under the limit."""
    if len(numbers) == 1:
        return () if numbers[0] == target else None
    for step, rest in moves(numbers, limit):
        if len(rest) == 1:
            if rest[0] == target:
                return (step,)
        else:
            tail = solve(rest, target, limit)
            if tail is not None:
                return (step, *tail)
    return None


def reachable(numbers: Numbers, limit: int = LIMIT) -> set[int]:
    """Every target that has a solution; exact under the limit."""
    if len(numbers) == 1:
        return {numbers[0]}
    return set().union(*(reachable(rest, limit) for _, rest in moves(numbers, limit)))


def expression(steps: Sequence[Step], numbers: Numbers) -> str:
    """The same solution as one arithmetic expression: "(8 - 5) * 7 + 3"."""
    pool = [(n, str(n), 3) for n in numbers]
    rank = {"+": 1, "-": 1, "*": 2, "/": 2}

    def take(value: int) -> tuple[str, int]:
        index = max(i for i, (n, _, _) in enumerate(pool) if n == value)
        _, text, level = pool.pop(index)
        return text, level

    for step in steps:
        (left, a), (right, b) = take(step.left), take(step.right)
        level = rank[step.op]
        left = f"({left})" if a < level else left
        right = f"({right})" if b < level or (b == level and step.op in "-/") else right
        pool.append((step.result, f"{left} {step.op} {right}", level))
    return pool[-1][1]


def parse_steps(text: str) -> list[Step] | None:
    """Steps from "3 + 5 = 8 , 8 * 3 = 24"; None if the text is anything else."""
    steps = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*([-+*/])\s*(\d{1,9})\s*=\s*(\d{1,9})\s*", part)
        if not match:
            return None
        steps.append(Step(int(match[1]), match[2], int(match[3]), int(match[4])))
    return steps


def bucket(numbers: Numbers) -> int:
    """0..99, from the multiset of numbers only, the same on every machine."""
    key = ",".join(map(str, sorted(numbers)))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % 100


def split_of(problem: Problem) -> str | None:
    """The split a problem belongs to; None for those no split uses.

    By multiset: buckets 0-89 train, 90-94 val, 95-99 test. A held-out target is in no split but
    test_target, and there only with a test multiset.
    """
    number = bucket(problem.numbers)
    if problem.target in HELD_OUT_TARGETS:
        return "test_target" if number >= 95 else None
    return "train" if number < 90 else "val" if number < 95 else "test"


def generate(
    n: int, split: str, seed: int | str, largest: int = LARGEST_NUMBER
) -> Iterator[Problem]:
    """A stream of solvable n-number problems of one split, each multiset with a target once, until
    none is left.

    Numbers are uniform in 1..`largest`. Where draws find nothing new any more, what is left comes
    in a seeded order: a small space is drawn to its last problem. Raises ValueError for a split
    that does not exist, and for fewer than three numbers or a largest one below 10, of which there
    are not enough problems.
    """
    if n < 3:
        raise ValueError(f"n must be 3 or more, got {n}")
    if largest < 10:
        raise ValueError(f"largest must be 10 or more, got {largest}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    rng = random.Random(f"countdown/{n}/{split}/{seed}")
    seen: set[tuple[Numbers, int]] = set()
    targets = sorted(HELD_OUT_TARGETS if split == "test_target" else {*TARGETS} - HELD_OUT_TARGETS)
    target, in_vain = rng.choice(targets), 0
    while in_vain < PATIENCE:
        in_vain += 1
        numbers = tuple(rng.randint(1, largest) for _ in range(n))
        problem = Problem(numbers, target)
        if split_of(problem) != split or solve(numbers, target) is None:
            continue
        key = (tuple(sorted(numbers)), target)
        if key not in seen:
            seen.add(key)
            in_vain = 0
            yield problem
        target = rng.choice(targets)
    left = [
        Problem(tuple(rng.sample(numbers, n)), target)
        for numbers in combinations_with_replacement(range(1, largest + 1), n)
        if split_of(Problem(numbers, targets[0])) == split
        for target in sorted(reachable(numbers).intersection(targets))
        if (numbers, target) not in seen
    ]
    rng.shuffle(left)
    yield from left
