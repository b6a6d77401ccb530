from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.countdown import CountdownSyntax
from controllers.grammar import Task
from controllers.syntax import SYNTAXES, syntax_of
from controllers.tags import STEP_BY_STEP, TagSyntax
from eval.countdown import LIMIT, apply, parse_steps
from reason.errors import UsageError
from reason.types import Message, Prompt

TAGS, COUNTDOWN = TagSyntax(), CountdownSyntax()
words = st.text(st.characters(exclude_characters="<>", codec="utf-8")).map(str.strip)
messages = words.filter(bool)


def content(prompt: Prompt) -> str:
    assert not isinstance(prompt, str)
    return prompt[-1]["content"]


@given(st.lists(messages), words)
def test_tasks_written_as_told_are_read_back(tasks: list[str], before: str) -> None:
    lines = "".join(f"<task>{task}</task>\n" for task in tasks)
    text = f"{before}<spawn>\n{lines}</spawn>"
    assert TAGS.tasks(text) == [Task(str(i), task) for i, task in enumerate(tasks, 1)]
    assert TAGS.block(text) == len(before if tasks else text)


@given(st.lists(messages | st.none(), min_size=1))
def test_results_reported_can_be_read_one_by_one(results: list[str | None]) -> None:
    tasks = [Task(str(i), "t") for i in range(len(results))]
    report = TAGS.report(tasks, results)
    shown = [part.partition("</result>")[0] for part in report.split("<result>")[1:]]
    assert shown == ["no result" if r is None else r for r in results]
    assert report.startswith("\n<join>\n") and report.endswith("</join>\n")


@given(messages, words)
def test_a_result_written_as_told_is_returned(result: str, before: str) -> None:
    assert TAGS.result(f"{before}<result>{result}</result>") == result
    assert TAGS.result(f"<think><result>no</result></think>{before}<result>{result}") == result


BLOCKS: list[tuple[str, list[str], int]] = [
    ("<spawn><task>a</task><task> b\nc </task></spawn>", ["a", "b\nc"], 0),
    ("so <spawn><task>a</task></spawn>", ["a"], 3),
    ("<spawn><task>old</task></spawn> <spawn><task>new</task></spawn>", ["new"], 32),
    ("<spawn><task>a</task><task>a</task></spawn>", ["a", "a"], 0),
    ("<spawn><task>cut <task>whole</task></spawn>", ["whole"], 0),
    ("<spawn><task></task><task> </task></spawn>", [], 42),
    ("<spawn></spawn>", [], 15),
    ("<spawn>no tags</spawn>", [], 22),
    ("<task>outside</task></spawn>", [], 28),
    ("so </spawn>", [], 11),
    ("ab<join>", [], 2),
    ("", [], 0),
]


@pytest.mark.parametrize(("text", "tasks", "block"), BLOCKS)
def test_blocks_well_formed_and_not(text: str, tasks: list[str], block: int) -> None:
    assert [task.message for task in TAGS.tasks(text)] == tasks
    assert TAGS.block(text) == block


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("<result>4</result>", "4"),
        ("first <result>3</result>, no: <result> 4 </result>.", "4"),
        ("it is 4", "it is 4"),
        ("<think>hm</think>it is 4", "it is 4"),
        ("it is <result>4", "4"),
        ("<result></result>", None),
        (" \n", None),
        ("<think>4</think>", None),
    ],
)
def test_results_well_formed_and_not(text: str, result: str | None) -> None:
    assert TAGS.result(text) == result


def test_a_turn_without_a_readable_spawn_is_kept() -> None:
    assert COUNTDOWN.block("1 + 2 = 3 <spawn> 24 7 8 <join>") == 0
    for text in ("1 + 2 = 3 <join>", "", "no"):
        assert COUNTDOWN.block(text) == len(text)


TAG_PIECES = ("<spawn>", "</spawn>", "<task>", "</task>", "<join>", "<result>", "</result>")
COUNTDOWN_PIECES = ("3 + 5 = 8", " <spawn> ", "24 7 8", " <join>", "<ans> ", "<ret> ", " <eos>")
pieces = st.sampled_from([*TAG_PIECES, *COUNTDOWN_PIECES, "</think>", "\\boxed{", "}"])
texts = st.text() | st.lists(pieces | st.text(max_size=3)).map("".join)


@pytest.mark.parametrize("name", SYNTAXES)
@given(text=texts)
def test_no_text_upsets_a_grammar(name: str, text: str) -> None:
    syntax = syntax_of(name)
    tasks = syntax.tasks(text)
    assert all(task.message for task in tasks)
    assert 0 <= syntax.block(text) <= len(text)
    result, answer = syntax.result(text), syntax.answer(text)
    assert all(found is None or found.strip() == found != "" for found in (result, answer))
    report = syntax.report(tasks, [None] * len(tasks))
    assert syntax.report(tasks, ["1 + 1 = 2"] * len(tasks)) != report or not tasks


def test_a_model_that_repeats_itself_costs_no_more_than_its_length() -> None:
    # Quadratic time would take minutes here.
    assert TAGS.tasks("<spawn>" + "<task>" * 200_000) == []
    assert TAGS.result("<result>" * 200_000) is None
    assert COUNTDOWN.tasks("1 + 1 = 2 <spawn> " + "1 " * 100_000) == []
    assert COUNTDOWN.answer("<ans> " + "1 + 1 = 2 , " * 50_000) is None


def test_what_a_model_is_told() -> None:
    assert TAGS.serial("Q?", 0) == [Message(role="user", content=f"Q?\n\n{STEP_BY_STEP}")]
    told = content(TAGS.parallel("Q?", 3))
    assert told.startswith("Q?\n\n") and "exactly 3 tasks" in told and STEP_BY_STEP in told
    assert "as many tasks as help" in content(TAGS.parallel("Q?", 0))
    child = content(TAGS.child(Task("1", "part")))
    assert child.startswith("part\n\n") and "<result>" in child
    chat: Sequence[Message] = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="Q?"),
    ]
    told_chat = TAGS.serial(chat, 0)
    assert told_chat == [chat[0], Message(role="user", content=f"Q?\n\n{STEP_BY_STEP}")]
    assert chat[1] == Message(role="user", content="Q?")


def test_what_the_prompt_shows_is_what_the_parser_reads() -> None:
    told = content(TAGS.parallel("Q?", 0))
    shown = told[told.index("<spawn>") : told.index("</spawn>") + len("</spawn>")]
    assert [task.message for task in TAGS.tasks(shown)] == [
        "everything the first helper must know",
        "everything the second helper must know",
    ]
    assert shown.endswith(TAGS.stops[0])


def test_unknown_grammars_and_conversations_are_refused() -> None:
    with pytest.raises(
        UsageError, match="no syntax is called 'xml'; there is: tags, plain, countdown"
    ):
        syntax_of("xml")
    with pytest.raises(UsageError, match="not a chat or contexts"):
        COUNTDOWN.serial([Message(role="user", content="24 3 5 7 8")], 0)


steps = st.builds(
    lambda op, x, y: f"{max(x, y)} {op} {min(x, y)} = {apply(op, max(x, y), min(x, y))}",
    st.sampled_from("+-*"),
    st.integers(0, LIMIT),
    st.integers(0, LIMIT),
)
numbers = st.lists(st.integers(0, LIMIT), min_size=2, max_size=5)
spawned = st.tuples(steps, numbers.map(lambda ns: " ".join(map(str, ns))))


@given(st.lists(spawned))
def test_countdown_tasks_are_read_back(written: list[tuple[str, str]]) -> None:
    text = " ".join([f"{step} <spawn> {message}" for step, message in written] + ["<join>"])
    assert COUNTDOWN.tasks(text) == [Task(step, message) for step, message in written]


@given(st.lists(steps, min_size=1))
def test_countdown_answers_are_read_back(path: list[str]) -> None:
    answer = " , ".join(path)
    assert COUNTDOWN.answer(f"1 | 2 ; <ans> {answer} <eos>") == answer
    assert COUNTDOWN.result(f"no hit <ret> {answer} <eos>") == answer
    assert parse_steps(answer) is not None
    for cut in (
        f"<ans> {answer}",
        f"{answer} <eos>",
        f"<ans> {answer} , <eos>",
        "<ans> fail <eos>",
    ):
        assert COUNTDOWN.answer(cut) is None


def test_countdown_reports() -> None:
    tasks = [Task("3 + 5 = 8", "24 7 8 8"), Task("7 - 3 = 4", "24 5 8 4")]
    assert COUNTDOWN.report(tasks, [None, "8 - 5 = 3 , 8 * 3 = 24"]) == (
        "<res> 3 + 5 = 8 fail <res> 7 - 3 = 4 , 8 - 5 = 3 , 8 * 3 = 24 <go>"
    )
    assert COUNTDOWN.report([], []) == "<go>"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("3 + 5 = 8 <spawn> 24 7 8 7 - 3 = 4 <spawn> 24 5 4 <join>", 2),
        ("3 + 5 8 <spawn> 24 7 8 7 - 3 = 4 <spawn> 24 5 4 <join>", 1),
        ("3 + 5 = 8 <spawn> <join>", 0),
        ("3 + 5 = 8 <spawn> 24 7 8", 0),
        ("<join>", 0),
    ],
)
def test_countdown_tasks_that_cannot_be_read_are_left_out(text: str, read: int) -> None:
    assert len(COUNTDOWN.tasks(text)) == read
