"""What a chat is made of: texts and tokens, decisions, rows, formulas, history, completion."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from reason.account import Ending
from reason.chat.completion import completed
from reason.chat.history import History, state_folder
from reason.chat.hosts import played
from reason.chat.maths import formula, readable
from reason.chat.outline import Outline
from reason.chat.reply import reply_of, sentence, silence
from reason.chat.run import Run
from reason.chat.texts import Script, Texts, shown
from reason.chat.themes import theme_of
from reason.chat.wrap import Wrapped
from reason.errors import UsageError
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from tests.chatting import KNOWN


def tokens(thread: str, text: str, ids: int = 1, segment: int = 1, **more: object) -> Tokens:
    return Tokens(
        thread=thread, segment=segment, origin=more.pop("origin", "sampled"), text=text,  # type: ignore[arg-type]
        ids=tuple(range(ids)), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def script_of(*events: Event) -> Script:
    texts = Texts()
    for event in (Opened(thread="0", model="m"), *events):
        texts(event)
    return texts.scripts["0"]


def test_a_place_in_a_text_is_a_number_of_tokens() -> None:
    script = script_of(
        tokens("0", "ask", 5, 0, origin="prompt"),
        tokens("0", "one ", 2),
        Noted(thread="0", name="score", value=0.5),
        tokens("0", "two"),
    )
    assert script.text == "askone \n◆ score: 0.5\ntwo"
    assert script.written() == "one two"
    places = {0: (0, 0), 3: (5, 3), 5: (5, 3), 7: (7, 7), 10: (7, 7), 21: (7, 21), 24: (8, 24)}
    assert {at: script.cut_at(at) for at in places} == places
    # "one " is two tokens of two characters each
    assert script.cut_at(5, lambda ids: "one "[: 2 * len(ids)]) == (6, 5)
    assert script.cut_at(6, lambda ids: "one "[: 2 * len(ids)]) == (6, 5)
    assert [script.step(0, 1), script.step(3, 1), script.step(4, -1), script.step(0, -1)] == [
        3, 7, 3, 0,
    ]  # fmt: skip


def test_a_fork_counts_from_what_it_kept() -> None:
    texts = Texts()
    for event in (
        Opened(thread="0", model="m"),
        tokens("0", "abc", 3),
        Opened(thread="0.0", model="m", parent="0", kept=2),
        tokens("0.0", "def", 3),
    ):
        texts(event)
    assert texts.scripts["0.0"].cut_at(3) == (5, 3)


@given(st.text())
def test_no_text_commands_a_terminal(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in shown(text))


def test_lines_and_indents_stay() -> None:
    assert shown("if x:\r\n\treturn\x1b[31m  1") == "if x:\n    return␛[31m  1"


@given(st.lists(st.text(alphabet="ab 漢\n", max_size=30), max_size=8), st.integers(2, 20))
def test_a_text_that_grows_is_wrapped_as_if_it_came_at_once(parts: list[str], width: int) -> None:
    grown, whole = Wrapped(width), Wrapped(width)
    for part in parts:
        grown.feed(part)
    whole.feed("".join(parts))
    assert (grown.rows, grown.starts, grown.length) == (whole.rows, whole.starts, whole.length)
    text = "".join(parts)
    for row, start in zip(whole.rows, whole.starts, strict=True):
        assert text[start : start + len(row)] == row
        assert cell_len(row.rstrip()) <= width
    assert "".join(whole.rows) == text.replace("\n", "")


EVENTS: list[Event] = [
    Opened(thread="0", model="m"),
    tokens("0", "go", 2, 0),
    Opened(thread="0.0", model="m", parent="0"),
    tokens("0.0", "first", 3, 0, at=1.0),
    Noted(thread="0.0", name="score", value=0.25),
    Noted(thread="0.0", name="score", value=0.75),
    Closed(thread="0.0", finish="eos", at=2.0),
    Noted(thread="0", name="vote", value={"answer": "7", "share": 0.5}),
    Opened(thread="0.1", model="m", parent="0", at=2.0),
    tokens("0.1", "second", 5, 0, at=3.0),
    Closed(thread="0.1", finish="error", detail="out of luck", at=3.0),
    Joined(thread="0", children=("0.0", "0.1"), at=3.0),
    Opened(thread="0.2", model="m", parent="0", kept=2, continues=True, at=3.0),
    tokens("0.2", "end", 1, 0, at=4.0),
]


def drawn(outline: Outline) -> list[str]:
    outline.update(outline.run.watch.critical())
    return [
        row.branch
        + (f"◆ {row.decision.name} {row.decision.value}" if row.decision else row.line.id)
        + (f" +{row.folded}" if row.folded else "")
        for row in outline.rows
    ]  # fmt: skip


async def test_decisions_stand_in_the_tree_where_they_were_made() -> None:
    run = await Run(played({"method": "m"}, EVENTS, 0)).over()
    outline = Outline(run)
    assert drawn(outline) == [
        "0",
        "├─ 0.0",
        "│  ╰─ ◆ score 0.75",
        "├─ ◆ vote answer 7, share 0.5",
        "├─ 0.1",
        "0.2",
    ]
    outline.decisions = False
    assert drawn(outline) == ["0", "├─ 0.0", "├─ 0.1", "0.2"]
    outline.folded = {"0"}
    assert drawn(outline) == ["0 +2", "0.2"]
    assert outline.shown("0.1") == 2 and drawn(outline) == ["0", "├─ 0.0", "├─ 0.1", "0.2"]
    for words, kept in {
        "failed": ["0", "0.1", "0.2"], "critical": ["0", "0.1", "0.2"], "first": ["0.0"],
        "open": ["0", "0.2"],
    }.items():  # fmt: skip
        outline.filter = words
        assert drawn(outline) == kept
    states = {name: run.timeline.state(line) for name, line in run.watch.lines.items()}
    assert states == {"0": "cut", "0.0": "joined", "0.1": "failed", "0.2": "cut"}
    assert run.timeline.below() == {"0": 11, "0.0": 3, "0.1": 5, "0.2": 1}
    assert run.timeline.rate(run.watch.lines["0.1"]) == 5.0


async def test_a_fork_without_a_hint_makes_no_decision() -> None:
    fork = Opened(thread="0.3", model="m", parent="0", kept=2, at=5.0)
    run = await Run(
        played({}, [*EVENTS, fork, Noted(thread="0.3", name="hint", value="")], 0)
    ).over()
    assert "hint" not in "".join(drawn(Outline(run))) and "0.3" in run.texts.scripts
    assert run.texts.scripts["0.3"].text == ""


def test_an_error_is_a_sentence_without_the_name_of_its_class() -> None:
    for said, told in {
        "BackendError: it is down: try later": "it is down: try later",
        "ThreadCancelled: thread 0 was cancelled": "thread 0 was cancelled",
        "Unsupported: no": "no",
        "Paris: no such place": "Paris: no such place",
        "it was stopped": "it was stopped",
    }.items():
        assert sentence(said) == told
    assert silence(Ending(error="BackendError: down\x1b")) == "down␛"
    assert silence(Ending(limit="depth")) == "the run reached budget.depth"


READ = {
    r"so \boxed{42}.": "so 42.",
    r"$\frac{a+b}{2} \le x_i^{10}$": "(a+b)/2 ≤ xᵢ¹⁰",
    r"\(\sum_{i=1}^{n} i\)": "∑ᵢ₌₁ⁿ i",
    r"$e^{i\pi}+1=0$": "e^(iπ)+1=0",
    "it costs $5 and $6, 50% off": "it costs $5 and $6, 50% off",
    "`$\\frac{1}{2}$` and ```\n$x$\n```": "`$\\frac{1}{2}$` and ```\n$x$\n```",
    r"broken \frac{1}{ and \boxed{": r"broken \frac{1}{ and \boxed{",
    r"$50\%$ of $\pi$": "50% of π",
}


@pytest.mark.parametrize("text", READ)
def test_formulas_are_readable(text: str) -> None:
    assert readable(text) == READ[text]


@given(st.text(alphabet="\\frac{}$^_ab1 &%", max_size=40))
def test_no_formula_fails(text: str) -> None:
    assert isinstance(formula(text), str) and isinstance(readable(text, markdown=True), str)


def test_formulas_are_no_marks_of_markdown() -> None:
    assert readable("$a*b*c$ and *so*", markdown=True) == r"a\*b\*c and *so*"


def test_tags_of_a_model_are_no_html() -> None:
    tagged = readable("<think>$a<b$</think> `<x>`", markdown=True)
    assert tagged == r"\<think>a\<b\</think> `<x>`"


def test_a_reply_is_all_that_was_said_after_the_thinking() -> None:
    def reply(text: str, **ending: str | None) -> str | None:
        texts = Texts()
        for event in (Opened(thread="0", model="m"), tokens("0", text)):
            texts(event)
        return reply_of(Ending(thread="0", **ending), texts)  # type: ignore[arg-type]

    assert reply("<think>hm</think> It is 4.<|im_end|>", answer="4", found="4") == "It is 4."
    assert reply("hello", answer=None) == "hello"
    assert reply("<ans> 8 - 5 = 3 <eos>", answer="8 - 5", found="8 - 5 = 3") == "8 - 5"
    assert reply("half a wo", answer=None, error="stopped") is None
    assert reply("half a wo", answer=None, limit="total_tokens") is None
    assert reply("something else", answer="42", found="42") == "42"


def test_history_is_kept_from_chat_to_chat(tmp_path: Path) -> None:
    file = tmp_path / "state" / "history.jsonl"
    first = History(file)
    for line in ("one", "two\nlines", "two\nlines"):
        first.add(line)
    file.write_text(file.read_text() + "damaged\n")
    again = History(file)
    assert again.lines == ["one", "two\nlines"]
    assert [again.back("typed"), again.back(""), again.back("")] == ["two\nlines", "one", "one"]
    assert [again.forward(), again.forward(), again.forward()] == ["two\nlines", "typed", "typed"]
    assert History(tmp_path / "file" / "missing").lines == []


def test_the_state_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/reason")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_folder() == Path.home() / ".local/state/reason"


def test_words_are_completed(tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").touch()
    settings = {"controller": "apr"}
    for line, expected in {
        "/me": "/method ",
        "/method": "/method ",
        "/sto": "/stop",
        "/co": "/compare ",
        "/method self": "/method self_consistency",
        "/method self_consistency chain.c": "/method self_consistency chain.controller=",
        "/compare apr wid": "/compare apr width=",
        "/compare apr -- sin": "/compare apr -- single",
        "/method wid": "/method width=",
        "/budget sec": "/budget seconds=",
        "/help thr": "/help threadweaver",
        f"/load {tmp_path}/ch": f"/load {tmp_path}/chat.jsonl",
        "/load /nowhere/x": None,
        "/nosuch x": None,
        "hello": None,
    }.items():
        assert completed(line, KNOWN, settings) == expected


def test_themes() -> None:
    assert [theme_of("", {}), theme_of("", {"COLORFGBG": "0;15"}), theme_of("light", {})] == [
        "textual-dark", "textual-light", "textual-light",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no theme is called 'pink'"):
        theme_of("pink", {})
