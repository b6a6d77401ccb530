"""Problems, and the solver against brute force."""

import ast
import hashlib
import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement, islice, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import countdown
from eval.countdown import (
    HELD_OUT_TARGETS,
    LARGEST_NUMBER,
    LIMIT,
    SPLITS,
    TARGETS,
    Problem,
    Step,
    apply,
    bucket,
    expression,
    generate,
    moves,
    parse_steps,
    solve,
    split_of,
)
from eval.tasks import TASKS
from eval.verifier import verify

# Brute force: all orders, all ways to put brackets, all operators, over plain trees.

Tree = int | tuple["Tree", str, "Tree"]


def trees(numbers: tuple[int, ...]) -> Iterator[Tree]:
    if len(numbers) == 1:
        yield numbers[0]
    for cut in range(1, len(numbers)):
        for left in trees(numbers[:cut]):
            for right in trees(numbers[cut:]):
                for op in "+-*/":
                    yield (left, op, right)


def value(tree: Tree) -> int | None:
    """By the rules: integers of 0 or more, none above the limit."""
    if isinstance(tree, int):
        return tree
    left, right = value(tree[0]), value(tree[2])
    if left is None or right is None or (tree[1] == "/" and right == 0):
        return None
    x, y = Fraction(left), Fraction(right)
    result = {"+": x + y, "-": x - y, "*": x * y, "/": x / (y or 1)}[tree[1]]
    return int(result) if result.denominator == 1 and 0 <= result <= LIMIT else None


def reachable(numbers: tuple[int, ...]) -> set[int]:
    values = (value(tree) for order in set(permutations(numbers)) for tree in trees(order))
    return {v for v in values if v is not None}


@pytest.mark.parametrize(
    ("n", "samples", "top"), [(2, 60, 99), (3, 40, 99), (3, 40, 9), (4, 2, 25), (4, 2, 6)]
)
def test_the_solver_finds_exactly_what_brute_force_finds(n: int, samples: int, top: int) -> None:
    rng = random.Random(f"{n}/{top}")
    for _ in range(samples):
        numbers = tuple(rng.randint(1, top) for _ in range(n))
        found = {t for t in range(LIMIT + 1) if solve(numbers, t) is not None}
        assert found == reachable(numbers) == countdown.reachable(numbers), numbers


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4).map(tuple), st.integers(0, 120))
def test_every_solution_verifies_in_both_forms(numbers: tuple[int, ...], target: int) -> None:
    steps = solve(numbers, target)
    if steps is None:
        return
    problem = Problem(numbers, target)
    assert len(steps) == len(numbers) - 1 and steps[-1].result == target
    assert verify(" , ".join(map(str, steps)), problem)
    written = expression(steps, numbers)
    assert verify(written, problem)
    assert verify(f"{written} = {target}", problem)
    assert not verify(written, Problem(numbers, target + 1))
    assert not verify(written, Problem((*numbers, 1), target))
    assert parse_steps(" , ".join(map(str, steps))) == list(steps)


def value_of(text: str) -> Fraction:
    """Arithmetic text by Python's own grammar, in fractions."""

    def go(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            return Fraction(node.value)
        assert isinstance(node, ast.BinOp)
        x, y = go(node.left), go(node.right)
        if isinstance(node.op, ast.Div):
            return x / y
        return {ast.Add: x + y, ast.Sub: x - y, ast.Mult: x * y}[type(node.op)]

    return go(ast.parse(text, mode="eval").body)


@st.composite
def played(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Step]]:
    """Numbers and random steps that use all of them."""
    numbers = draw(st.lists(st.integers(1, 12), min_size=2, max_size=6).map(tuple))
    left, steps = numbers, []
    while len(left) > 1:
        step, left = draw(st.sampled_from(moves(left, 10**6)))
        steps.append(step)
    return numbers, steps


@given(played())
def test_an_expression_says_what_its_steps_say(game: tuple[tuple[int, ...], list[Step]]) -> None:
    numbers, steps = game
    written = expression(steps, numbers)
    assert value_of(written) == steps[-1].result
    assert verify(written, Problem(numbers, steps[-1].result))
    spaced = written.replace("*", "\\times").replace("/", "\u00f7").replace("-", "\u2212")
    assert verify(spaced, Problem(numbers, steps[-1].result))


def test_brackets_only_where_they_are_needed() -> None:
    steps = parse_steps("8 - 5 = 3 , 7 * 3 = 21 , 21 + 3 = 24")
    assert steps is not None
    assert expression(steps, (3, 5, 7, 8)) == "7 * (8 - 5) + 3"


@given(st.lists(st.integers(1, 99), min_size=2, max_size=5).map(tuple))
def test_moves_are_all_legal_and_in_order(numbers: tuple[int, ...]) -> None:
    listed = moves(numbers)
    for step, rest in listed:
        assert step.left >= step.right
        assert apply(step.op, step.left, step.right) == step.result <= LIMIT
        assert rest[-1] == step.result
        assert sorted([*rest[:-1], step.left, step.right]) == sorted(numbers)
        assert not (step.op == "/" and step.right == 1)
    pairs = len(numbers) * (len(numbers) - 1) // 2
    assert len(listed) <= 4 * pairs
    assert moves(numbers, 10**9)[0][0].op == "+"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("n", [3, 4])
def test_generated_problems_belong_to_their_split(n: int, split: str) -> None:
    problems = list(islice(generate(n, split, 1), 30))
    assert problems == list(islice(generate(n, split, 1), 30))
    assert problems != list(islice(generate(n, split, 2), 30))
    keys = {(tuple(sorted(p.numbers)), p.target) for p in problems}
    assert len(keys) == len(problems)
    for p in problems:
        assert len(p.numbers) == n
        assert all(1 <= number <= LARGEST_NUMBER for number in p.numbers)
        assert p.target in TARGETS
        assert (p.target in HELD_OUT_TARGETS) == (split == "test_target")
        assert split_of(p) == split
        steps = solve(p.numbers, p.target)
        assert steps is not None and verify(" , ".join(map(str, steps)), p)


def test_splits_share_no_multiset_of_numbers() -> None:
    def multisets(split: str) -> set[tuple[int, ...]]:
        return {tuple(sorted(p.numbers)) for p in islice(generate(3, split, 0), 100)}

    train, val = multisets("train"), multisets("val")
    test = multisets("test") | multisets("test_target")
    assert not train & val and not train & test and not val & test


@given(st.lists(st.integers(1, 99), min_size=3, max_size=5), st.integers(10, 100), st.randoms())
def test_a_problem_is_in_one_split_whatever_its_order(
    numbers: list[int], target: int, rng: random.Random
) -> None:
    shuffled = rng.sample(numbers, len(numbers))
    number = bucket(tuple(numbers))
    assert number == bucket(tuple(shuffled)) in range(100)
    split = split_of(Problem(tuple(numbers), target))
    held_out = target in HELD_OUT_TARGETS
    expected = "train" if number < 90 else "val" if number < 95 else "test"
    if held_out:
        assert split == ("test_target" if expected == "test" else None)
    else:
        assert split == expected


def test_the_splits_are_the_same_on_every_machine() -> None:
    assert sorted(HELD_OUT_TARGETS) == FROZEN_TARGETS
    assert [bucket(numbers) for numbers in ((3, 5, 7), (7, 5, 3), (3, 5, 7, 8))] == FROZEN_BUCKETS
    assert [str(p) for p in islice(generate(3, "test", 0), 3)] == FROZEN_PROBLEMS


@pytest.mark.parametrize("split", ["test", "val", "test_target"])
def test_a_small_space_is_drawn_to_its_last_problem(split: str) -> None:
    targets = {t for t in TARGETS if (t in HELD_OUT_TARGETS) == (split == "test_target")}
    every = {
        (numbers, target)
        for numbers in combinations_with_replacement(range(1, 13), 3)
        if split_of(Problem(numbers, min(targets))) == split
        for target in reachable(numbers) & targets
    }
    assert len(every) == {"test": 112, "val": 172, "test_target": 6}[split]
    drawn = [list(generate(3, split, seed, 12)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for problems in drawn:
        keys = [(tuple(sorted(p.numbers)), p.target) for p in problems]
        assert set(keys) == every and len(keys) == len(every)
        assert any(list(p.numbers) != sorted(p.numbers) for p in problems)
    targets_in_turn = [p.target for p in drawn[2]]
    assert targets_in_turn != sorted(targets_in_turn)


@pytest.mark.parametrize("name", TASKS)
def test_the_problems_of_every_task_are_those_of_recorded_results(name: str) -> None:
    task = TASKS[name]
    count = 100 if name in ("countdown3", "countdown4", "countdown4_small") else 20
    drawn = islice(generate(task.numbers, task.split, 0, task.largest), count)
    digest = hashlib.blake2b("\n".join(map(str, drawn)).encode(), digest_size=8).hexdigest()
    assert digest == DIGESTS[name]


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of train, val, test, test_target"):
        next(generate(4, "dev", 0))
    for n in (0, 1, 2):
        with pytest.raises(ValueError, match=f"n must be 3 or more, got {n}"):
            next(generate(n, "test", 0))


DIGESTS = {
    "countdown3": "44ebb0eaf50d1310",
    "countdown4": "ff5fc7eabe79596c",
    "countdown5": "ebe78a69d0439e86",
    "countdown3_target": "bad2998a4b2f0531",
    "countdown4_target": "1af77c95a08dd09c",
    "countdown5_target": "a7cd233dff9dd570",
    "countdown4_small": "c3400edee21d4875",
    "countdown5_small": "f187a7d6fe32dbab",
    "countdown3_train": "7a1a6a74213266f3",
    "countdown4_train": "606d820f74cf8fa9",
    "countdown5_train": "758aa5c6ceab2873",
}
FROZEN_TARGETS = [16, 32, 45, 48, 49, 67, 70, 79, 90]
FROZEN_BUCKETS = [35, 35, 59]
FROZEN_PROBLEMS = ["51 21 92 = 20", "11 33 3 = 47", "20 19 62 = 62"]
