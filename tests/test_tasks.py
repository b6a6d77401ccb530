import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.syntax import syntax_of
from eval.countdown import Problem, generate, solve
from eval.tasks import (
    TASKS,
    Asked,
    Countdown,
    countdown_item,
    parse_countdown,
    parse_tasks,
    refusal,
    task_of,
)
from reason.errors import UsageError

FORMS = [
    "make 24 from 3 5 7 8",
    "Make 24 from 3, 5, 7, 8.",
    "make 24 from 3, 5, 7 and 8",
    "reach 24 with 3, 5, 7, and 8!",
    "get 24 using the numbers 3 5 7 8",
    "make 24 out of 3,5,7,8",
    "  MAKE  24  FROM  3  5  7  8  ",
    "3 5 7 8 = 24",
    "3,5,7,8=24",
    "3, 5, 7 and 8 -> 24",
    "3 5 7 8 \u2192 24",
    "3 5 7 8 to 24",
    "make 24\nfrom 3 5\n7 8",
]


@pytest.mark.parametrize("text", FORMS)
def test_the_ways_to_write_a_problem(text: str) -> None:
    assert parse_countdown(text) == Problem((3, 5, 7, 8), 24)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24",
        "make 24",
        "make 24 from 3",
        "make from 3 5 7 8",
        "make 24 from 3 5 7 8 please",
        "make 24 from 3 5 -7 8",
        "make 24 from 3.5 7 8",
        "make -24 from 3 5 7 8",
        "3 5 7 8",
        "3 5 7 8 24",
        "3 + 5 + 7 + 8 = 23",
        "= 24",
        "what is 3 5 7 8 = 24",
        "make 24 from 3,, 5",
        "make " + "9" * 6000 + " from 3 5",
        "1 " * 20_000 + "x",
        "1," * 20_000,
    ],
)
def test_what_is_no_problem(text: str) -> None:
    assert parse_countdown(text) is None


def test_repeated_numbers_and_the_target_among_them() -> None:
    assert parse_countdown("3 3 = 3") == Problem((3, 3), 3)
    assert parse_countdown("make 24 from 24 24 1") == Problem((24, 24, 1), 24)
    assert parse_countdown("24 1 = 24") == Problem((24, 1), 24)


@given(
    st.lists(st.integers(0, 999_999_999), min_size=2, max_size=8),
    st.integers(0, 999_999_999),
    st.sampled_from([" ", ", ", ",", " and ", ", and "]),
)
def test_every_problem_written_out_is_read_back(ns: list[int], target: int, between: str) -> None:
    problem = Problem(tuple(ns), target)
    assert parse_countdown(str(problem)) == problem
    listed = between.join(map(str, ns))
    for text in (f"make {target} from {listed}", f"Reach {target} with {listed}.",
                 f"{listed} = {target}"):  # fmt: skip
        assert parse_countdown(text) == problem


@given(st.text() | st.text(alphabet="make 24from,=->to and3\u06635"))
def test_no_text_upsets_it(text: str) -> None:
    problem = parse_countdown(text)
    assert problem is None or len(problem.numbers) >= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("make 24 from 3 5 -7 8", "'make 24 from 3 5 -7 8': -7 is negative. The shipped model "),
        ("make -24 from 3 5 7 8", "'make -24 from 3 5 7 8': -24 is negative."),
        ("3, 5, \u22127 = 24", "'3, 5, \u22127 = 24': \u22127 is negative."),
        ("make 24 from 3.5 7 8", "'make 24 from 3.5 7 8': 3.5 is no whole number. The shipped "),
        ("1/2 7 8 = 24", "'1/2 7 8 = 24': 1/2 is no whole number."),
        ("3 -0.5 8 = 24", "'3 -0.5 8 = 24': -0.5 is no whole number."),
        ("1234567890 3 7 = 24", "'1234567890 3 7 = 24': 1234567890 is out of range."),
        ("why?", "this model reads Countdown problems only, such as 'make 24 from 3 5 7 8' or "),
        ("3 5 x 8 = 24", "this model reads Countdown problems only"),
        ("3 5 7 8", "this model reads Countdown problems only"),
        ("-1 " * 20_000 + "x", "this model reads Countdown problems only"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, message: str) -> None:
    assert parse_countdown(text) is None
    assert refusal(text).startswith(message)


def test_an_item_for_the_models_own_grammar_and_in_words() -> None:
    problem = Problem((3, 5, 7, 8), 24)
    own, words = countdown_item(problem, "countdown"), countdown_item(problem, "")
    assert own.prompt == "24 3 5 7 8"
    assert words.prompt == (
        "Use each of the numbers 3, 5, 7, 8 exactly once, with +, -, * and /, to make 24. Every "
        "intermediate result must be an integer of 0 or more. Give one arithmetic expression as "
        "the answer."
    )
    for item in (own, words):
        assert (item.id, item.title) == ("3 5 7 8 = 24", "3 5 7 8 = 24")
        steps = "8 - 5 = 3 , 3 * 7 = 21 , 21 + 3 = 24"
        assert item.verify(steps) and not item.verify("8 - 5 = 3") and not item.verify(None)
        assert item.show(steps) == "(8 - 5) * 7 + 3" or item.show(steps) == "3 + (8 - 5) * 7"
        assert item.verify(item.show(steps))
        assert item.show("no idea") == "no idea"
        assert item.show("8 - 5 = 3 , 7 * 3 = 21 , 21 - 3 = 18") == "7 * (8 - 5) - 3"
        assert item.show("8 - 5 = 3 , 8 * 3 = 24") == "8 - 5 = 3, 8 * 3 = 24"
        assert item.show("8 - 5 = 3 , 7 * 3 = 20") == "8 - 5 = 3, 7 * 3 = 20"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem((3, 5), 8), "3 5 = 8 has 2 numbers."),
        (Problem((1, 2, 3, 4, 5, 6), 21), "1 2 3 4 5 6 = 21 has 6 numbers."),
        (Problem((3, 5, 100), 24), "3 5 100 = 24: 100 is out of range."),
        (Problem((3, 0, 7), 24), "3 0 7 = 24: 0 is out of range."),
        (Problem((3, 5, 7), 9), "3 5 7 = 9: the target 9 is out of range."),
        (Problem((3, 5, 7), 101), "3 5 7 = 101: the target 101 is out of range."),
        (Problem((1, 1, 1), 50), "1 1 1 = 50 has no solution"),
    ],
)
def test_the_shipped_model_is_asked_only_what_it_was_trained_on(
    problem: Problem, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        countdown_item(problem, "countdown")
    assert str(raised.value).startswith(message)
    assert countdown_item(problem, "").prompt


@pytest.mark.parametrize("name", TASKS)
def test_items_are_the_first_of_the_split(name: str) -> None:
    task = TASKS[name]
    items = list(task.items(5, 3, "countdown"))
    assert [i.id for i in task.items(3, 3, "countdown")] == [i.id for i in items][:3]
    problems = generate(task.numbers, task.split, 3, task.largest)
    for item, problem in zip(items, problems, strict=False):
        assert item.id == str(problem)
        steps = solve(problem.numbers, problem.target)
        assert steps is not None and item.verify(" , ".join(map(str, steps)))


def test_more_problems_than_there_are_is_a_mistake() -> None:
    few = Countdown(3, "test", largest=10)
    with pytest.raises(UsageError) as raised:
        list(few.items(500, 0, ""))
    message = r"limit must be at most (\d+), all this task has, got 500"
    match = re.fullmatch(message, str(raised.value))
    assert match and len(list(few.items(int(match[1]), 0, ""))) == int(match[1]) > 0


def test_tasks_with_repeats() -> None:
    assert parse_tasks("countdown4") == [Asked("countdown4", 1, "countdown4", "countdown4")]
    assert parse_tasks("countdown4:8, aime24,math500:2,gpqa@a/b.parquet") == [
        Asked("countdown4", 8, "countdown4", "countdown4x8"),
        Asked("aime24", 16, "aime24", "aime24"),
        Asked("math500", 2, "math500", "math500x2"),
        Asked("gpqa@a/b.parquet", 8, "gpqa", "gpqa"),
    ]
    assert parse_tasks("a/my own.jsonl:3") == [
        Asked("a/my own.jsonl", 3, "my-own", "my-ownx3"),
    ]
    for text in ("countdown4:", "countdown4:0", "countdown4:-1", "countdown4:two", "aime24:\u0663"):
        with pytest.raises(UsageError) as error:
            parse_tasks(f"countdown3,{text}")
        expected = f"expected TASK:REPEATS with repeats of 1 or more, got {text!r}"
        assert str(error.value) == expected
    for text in ("", ":2", "countdown4,", "countdown4,,countdown3"):
        with pytest.raises(UsageError, match="which task"):
            parse_tasks(text)
    with pytest.raises(UsageError, match=r"aime24 is asked for twice, by aime24 and aime24@x\.jso"):
        parse_tasks("aime24:2,aime24@x.jsonl:3")


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no task is called 'aime'; there is: countdown3, "):
        task_of("aime")
    assert task_of("countdown4") == Countdown(4, "test")


def test_prompts_of_both_modes_name_the_problem_and_the_width() -> None:
    syntax = syntax_of("countdown")
    rng = random.Random(0)
    problem = Problem(tuple(rng.sample(range(1, 100), 4)), 42)
    text = f"42 {' '.join(map(str, problem.numbers))}"
    assert syntax.parallel(text, 4) == f"<bos> <par> {text} ; 4 <go>"
    assert syntax.serial(text, 0) == f"<bos> <seq> {text} ; 0 <go>"
