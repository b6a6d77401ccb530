import pytest
from hypothesis import given
from hypothesis import strategies as st

from reason.answers import Vote, boxed, in_thought, majority, normalise, same

BOXES: list[tuple[str, str | None]] = [
    (r"so \boxed{14}", "14"),
    (r"\boxed{1} no, \boxed{ 2 }.", "2"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{a{b{c}}d} }", "a{b{c}}d"),
    (r"\boxed{f(\boxed{3})}", "3"),
    (r"\boxed{5} and \boxed{6", "5"),
    (r"\boxed{6 \boxed{7}", "7"),
    (r"} \boxed{8}", "8"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{x \in \{1}", r"x \in \{1"),
    (r"\boxed {9}", "9"),
    (r"\boxed{10} is what belongs in \boxed{}", "10"),
    (r"\boxed{ }", None),
    (r"\boxed{", None),
    (r"\boxed", None),
    ("boxed{3}", None),
    ("", None),
    (r"<think>\boxed{1}</think> \boxed{2}", "2"),
    (r"<think>\boxed{1}</think> two", "1"),
    (r"<think>\boxed{1}</think> \boxed{}", "1"),
    (r"</think>\boxed{1}</think>\boxed{2} </think>", "2"),
    (r"<think>\boxed{2}", "2"),
]


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_boxed(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"<think>\boxed{1}</think> \boxed{2}", False),
        (r"<think>\boxed{1}</think> two", True),
        (r"\boxed{1}</think> \boxed{ }", True),
        (r"<think>\boxed{1} and so on", True),
        (r"</think>\boxed{1}</think> two </think> \boxed{2}", False),
        (r"\boxed{2}", False),
        ("<think>one</think> two", False),
        ("<think>", False),
        ("", False),
    ],
)
def test_an_answer_in_the_thinking_only(text: str, found: bool) -> None:
    assert in_thought(text) == found


def scanned(text: str) -> str | None:
    """The same by counting braces from every box, the last first."""
    start = len(text)
    while (start := text.rfind("\\boxed{", 0, start)) >= 0:
        begin = start + len("\\boxed{")
        depth = 1
        for end in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                if text[begin:end].strip():
                    return text[begin:end].strip()
                break
    return None


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "a", " ", "box", "\n"])).map("".join))
def test_boxed_against_a_plain_scan(text: str) -> None:
    assert boxed(text) == scanned(text)


@given(st.text() | st.text(alphabet="\\boxed{}</think> 1"))
def test_no_text_upsets_it(text: str) -> None:
    found = boxed(text)
    assert found is None or (found in text and found == found.strip() != "")
    assert same(text, text)
    assert isinstance(normalise(text), str)


def test_a_model_that_repeats_itself_costs_no_more_than_its_length() -> None:
    # Quadratic time would take hours here.
    assert boxed("\\boxed{" * 200_000) is None
    assert boxed("\\boxed{" * 200_000 + "1" + "}" * 200_000) == "1"


@pytest.mark.parametrize(
    ("forms", "normal"),
    [
        (["7", "007", "+7", "7.0", "7.", " 7 ", "$7$", "7.000", r"\$7", r"7\,"], "7"),
        (["-7", "-07", "-7.0", "$-7$."], "-7"),
        (["0", "-0", "00", "0.0", "+0"], "0"),
        (["1234567890123456789012345678901234567890"], "1234567890123456789012345678901234567890"),
        (["x + 1", "x+1", "x+1."], "x+1"),
        (["7.5", "$7.5$"], "7.5"),
        (["--7"], "--7"),
        (["", " ", "$", "."], ""),
    ],
)
def test_normalise(forms: list[str], normal: str) -> None:
    assert {normalise(form) for form in forms} == {normal}


@given(st.integers(), st.integers(0, 3), st.integers(0, 3))
def test_every_way_to_write_an_integer_is_that_integer(n: int, before: int, after: int) -> None:
    sign = "-" if n < 0 else ""
    written = f"{sign}{'0' * before}{abs(n)}.{'0' * after}"
    assert normalise(written) == normalise(str(n)) == str(n)
    assert not same(written, str(n + 1))


def test_nothing_is_the_same_as_a_missing_answer() -> None:
    assert not same(None, None)
    assert not same(None, "1")
    assert same("01", "1.0")


@pytest.mark.parametrize(
    ("answers", "vote"),
    [
        (["1", "2", "2.0"], Vote("2", 1, 2 / 3)),
        (["2", "1", "1", "2"], Vote("2", 0, 0.5)),
        ([None, "1", None], Vote("1", 1, 1 / 3)),
        ([None, "3", "03", "4", "4"], Vote("3", 1, 0.4)),
        ([None, None], Vote(None, 0, 0.0)),
        ([], Vote(None, 0, 0.0)),
    ],
)
def test_majority(answers: list[str | None], vote: Vote) -> None:
    assert majority(answers) == vote


@given(st.lists(st.none() | st.sampled_from(["1", "01", "2", "2.0", "3"]), min_size=1))
def test_majority_against_counting(answers: list[str | None]) -> None:
    vote = majority(answers)
    counts = [sum(same(a, b) for b in answers) for a in answers]
    assert vote.share == max(counts) / len(answers)
    assert vote.index == counts.index(max(counts))
    assert vote.answer == answers[vote.index]
