"""A verifier that cannot be talked round."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.countdown import Problem
from eval.verifier import fault, verify

P = Problem((3, 5, 7, 8), 24)
RIGHT = [
    "8 - 5 = 3 , 3 * 7 = 21 , 21 + 3 = 24",
    "8 - 5 = 3, 7*3=21,3 + 21 = 24",
    "(8 - 5) * 7 + 3",
    "3 + (8-5)*7 = 24",
    "((3) + (((8 - 5)) * 7))",
    "(8-5) \\cdot 7 + 3",
]
WRONG = [
    ("a number used twice", "8 * 3 = 24"),
    ("a number used twice", "8 * 3 + (7 - 7)"),
    ("a number used twice, as steps", "8 - 5 = 3 , 8 * 3 = 24"),
    ("a number not used", "(8 - 5) * 8"),
    ("a result not used", "8 - 5 = 3 , 3 + 7 = 10"),
    ("a number that is not there", "(8 - 5) * 7 + 1 + 2"),
    ("wrong arithmetic", "8 - 5 = 3 , 7 * 3 = 20 , 20 + 3 = 24"),
    ("another target", "(8 - 5) * 7 - 3"),
    ("another target claimed", "(8 - 5) * 7 + 3 = 25"),
    ("a negative step", "5 - 8 = 3 , 7 * 3 = 21 , 21 + 3 = 24"),
    ("negative on the way", "3 - (5 - 8) * 7"),
    ("a power", "3 ** 3 - 7 + 5 - 8"),
    ("whole division", "7 // 3"),
    ("a remainder", "8 % 5 * 7 + 3"),
    ("a sign", "+3 + (8 - 5) * 7"),
    ("a real number", "3.0 + (8 - 5) * 7"),
    ("hexadecimal", "0x3 + (8 - 5) * 7"),
    ("underscores", "3 + (8 - 5) * 7_"),
    ("a call", "int(3) + (8 - 5) * 7"),
    ("a comparison", "3 + (8 - 5) * 7 == 24"),
    ("two equals signs", "3 + (8 - 5) * 7 = 24 = 24"),
    ("a condition", "24 if 3 else 5"),
    ("a tuple", "(8 - 5) * 7 + 3,"),
    ("a string", "'(8 - 5) * 7 + 3'"),
    ("other digits", "\u0663 + (8 - 5) * 7"),
    ("words", "the answer is (8 - 5) * 7 + 3"),
    ("nothing", ""),
    ("space", " \n"),
    ("the target", "24"),
    ("commas", ",,,"),
    ("an import", "__import__('os').system('true')"),
    ("half an expression", "(8 - 5) * 7 +"),
    ("null", "3 + (8 - 5) * 7\0"),
]


@pytest.mark.parametrize("answer", RIGHT)
def test_right_answers(answer: str) -> None:
    assert verify(answer, P) and fault(answer, P) is None


@pytest.mark.parametrize(("why", "answer"), WRONG)
def test_wrong_answers(why: str, answer: str) -> None:
    assert not verify(answer, P), why
    assert not verify(None, P)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "there is no answer"),
        ("8 * 3 = 24", "it leaves 5, 7 unused"),
        ("8 - 5 = 3 , 8 * 3 = 24", "no 8 is left for 8 * 3 = 24"),
        ("8 - 5 = 3 , 7 * 3 = 20 , 20 + 3 = 24", "7 * 3 is 21, not 20"),
        ("5 - 8 = 3 , 7 * 3 = 21 , 21 + 3 = 24", "5 - 8 is no integer of 0 or more"),
        ("8 - 5 = 3 , 7 * 3 = 21 , 21 - 3 = 18", "it makes 18, not 24"),
        ("(8 - 5) * 7 - 3", "it makes 18, not 24"),
        ("(8 - 5) * 8", "it uses 5, 8, 8, not 3, 5, 7, 8"),
        ("3 - (5 - 8) * 7", "5 - 8 is no integer of 0 or more"),
        ("5 / (7 - 7)", "5 / 0 is no integer of 0 or more"),
        ("(8 - 5) * 7 + 3 = 25", "it says = 25, not = 24"),
        ("3 ** 3 - 7 + 5 - 8", "it is neither steps nor one expression in + - * /"),
        ("the answer is 24", "it is neither steps nor one expression in + - * /"),
        ("1 + " * 300 + "1", "it is longer than 1000 characters"),
    ],
)
def test_a_wrong_answer_is_told_why(answer: str | None, why: str) -> None:
    assert fault(answer, P) == why


def test_division_must_come_out_even() -> None:
    assert verify("8 / 2 = 4 , 4 * 3 = 12", Problem((2, 3, 8), 12))
    assert verify("8 / 2 * 3", Problem((2, 3, 8), 12))
    assert not verify("3 / 2 * 8", Problem((2, 3, 8), 12))
    assert not verify("8 / 3 = 2 , 2 * 2 = 4", Problem((2, 3, 8), 4))
    assert not verify("5 / (3 - 3)", Problem((3, 3, 5), 0))
    assert not verify("3 - 3 = 0 , 5 / 0 = 0", Problem((3, 3, 5), 0))


@pytest.mark.parametrize(
    "answer",
    [
        "9**9**9**9",
        "9" * 999,
        "9" * 100_000,
        "(" * 400 + "3" + ")" * 400,
        "(" * 999,
        "-" * 998 + "3",
        "+".join("1" * 500),
        "1+" * 499 + "1",
        "*".join(["9" * 400] * 2),
        "3 + " * 200 + "5",
        "\\times" * 100,
    ],
)
@pytest.mark.filterwarnings("error")
def test_answers_made_to_upset_the_verifier(answer: str) -> None:
    assert not verify(answer, P)


@given(st.text() | st.text(alphabet="0123456789+-*/()=, .\n_ex"))
@pytest.mark.filterwarnings("error")
def test_no_text_upsets_the_verifier(text: str) -> None:
    assert verify(text, P) in (True, False)
    assert verify(text, Problem((3,), 3)) in (True, False)


def test_the_order_of_numbers_and_operands_does_not_count() -> None:
    assert all(verify(RIGHT[2], Problem(order, 24)) for order in permutations(P.numbers))
