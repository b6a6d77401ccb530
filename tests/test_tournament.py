"""The knockout, driven whole: chains and the judge that compares them are one scripted model."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from controllers.syntax import SYNTAXES
from controllers.tournament import Tournament
from eval.countdown import Problem
from eval.scorers import scorers_of
from eval.tasks import countdown_item
from reason.backends.connect import connect
from reason.backends.scripted import Script
from reason.errors import BackendError
from reason.run import Trajectory, solve
from reason.types import Message, Result, SamplingParams
from tests.runs import run

TAGS = SYNTAXES["tags"]
Judge = Callable[[int, int], str]
"""What is said of the answers A and B."""


def play(texts: list[str], judge: Judge) -> tuple[Script, list[tuple[int, int]]]:
    """A model that writes these chains, then compares; and the pairs it was shown."""
    left, shown = iter(texts), list[tuple[int, int]]()

    def script(context: str, params: SamplingParams) -> str:
        if "Solution A:" not in context:
            text = next(left)
            if text == "dead":
                raise BackendError("connection refused")
            return text
        first, second = re.findall(r"boxed\{(\d+)\}", context.partition("Check both")[0])
        shown.append((int(first), int(second)))
        return judge(int(first), int(second))

    return script, shown


def larger(a: int, b: int) -> str:
    return f"I see. <better>{'A' if a > b else 'B'}</better>"


def chains(*answers: int) -> list[str]:
    return [f"<think>hm</think>It is \\boxed{{{answer}}}" for answer in answers]


def matches(done: Trajectory) -> list[tuple[list[str], list[float]]]:
    values = [note.value for note in done.tree.notes if note.name == "match"]
    return [(value["between"], value["points"]) for value in values]


def test_winners_go_on_until_one_is_left() -> None:
    script, shown = play(chains(3, 7, 9, 1), larger)
    done = run(Tournament(n=4, k=2), script)
    assert done.result == Result("9", "0.2")
    assert sorted(shown) == [(1, 9), (3, 7), (7, 3), (7, 9), (9, 1), (9, 7)]
    assert matches(done) == [
        (["0.0", "0.1"], [0.0, 2.0]),
        (["0.2", "0.3"], [2.0, 0.0]),
        (["0.1", "0.2"], [0.0, 2.0]),
    ]
    assert [len(join.children) for join in done.tree.joins] == [4, 4, 2]


def test_the_comparisons_of_a_round_take_place_at_once() -> None:
    script, _ = play(chains(1, 2, 3, 4, 5, 6, 7, 8), larger)
    done = run(Tournament(n=8, k=4), script)
    said = len(larger(1, 2))
    assert done.tree.critical_path == len(chains(1)[0]) + 3 * said
    assert done.ledger.total_tokens == 8 * len(chains(1)[0]) + 7 * 4 * said


def test_a_judge_sees_solutions_without_the_thinking_and_nothing_of_the_chains() -> None:
    contexts: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        contexts.append(context)
        return f"<think>secret</think>\\boxed{{{len(contexts)}}}"

    run(Tournament(n=2, k=1), script, prompt="Why?")
    assert contexts[2].startswith("<user>Why?\n\nHere are two solutions")
    assert "Solution A:\n\\boxed{1}\n\nSolution B:\n\\boxed{2}" in contexts[2]
    assert "secret" not in contexts[2]


def test_whoever_always_names_the_first_decides_nothing() -> None:
    script, shown = play(chains(3, 7), lambda a, b: "<better>A</better>")
    done = run(Tournament(n=2, k=2), script)
    assert sorted(shown) == [(3, 7), (7, 3)]
    assert matches(done) == [(["0.0", "0.1"], [1.0, 1.0])]
    assert done.result == Result("3", "0.0")  # a draw goes to the earlier


@pytest.mark.parametrize("said", ["I cannot tell", "<better>C</better>", "<better>B", "dead"])
def test_what_cannot_be_read_is_no_vote(said: str) -> None:
    def judge(a: int, b: int) -> str:
        if (a, b) == (7, 3):
            return "<better>A</better>"
        if said == "dead":
            raise BackendError("connection refused")
        return said

    done = run(Tournament(n=2, k=4), play(chains(3, 7), judge)[0])
    assert matches(done) == [(["0.0", "0.1"], [0.0, 2.0])]
    assert done.result == Result("7", "0.1")


def test_the_same_answers_need_no_match() -> None:
    texts = [*chains(4, 4), "\\boxed{04}", *chains(9)]
    script, shown = play(texts, lambda a, b: larger(b, a))
    done = run(Tournament(n=4, k=1), script)
    assert shown == [(4, 9)]
    assert done.result == Result("4", "0.0")
    script, shown = play(chains(5, 5, 5), larger)
    assert run(Tournament(n=3), script).result == Result("5", "0.0")
    assert shown == []


def test_no_chain_rests_twice_in_a_row() -> None:
    script, _ = play(chains(1, 2, 3, 4, 5), larger)
    done = run(Tournament(n=5, k=1), script)
    assert [between for between, _ in matches(done)] == [
        ["0.0", "0.1"],
        ["0.2", "0.3"],
        ["0.4", "0.1"],
        ["0.3", "0.4"],
    ]
    assert done.result == Result("5", "0.4")


def test_chains_without_an_answer_do_not_take_part() -> None:
    script, shown = play(["dead", *chains(3), "no idea", *chains(8)], larger)
    done = run(Tournament(n=4, k=1), script)
    assert (done.result, shown) == (Result("8", "0.3"), [(3, 8)])
    script, shown = play(["dead", "no idea", *chains(3)], larger)
    assert (run(Tournament(n=3), script).result, shown) == (Result("3", "0.2"), [])
    script, shown = play(["dead", "no idea"], larger)
    assert (run(Tournament(n=2), script).result, shown) == (Result(None, "0.0"), [])


def test_the_judge_is_asked_in_the_grammar() -> None:
    chat: list[Message] = [
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello"),
        Message(role="user", content="2 + 2?"),
    ]
    asked = TAGS.judge(chat, " a ", "b")
    assert asked is not None and not isinstance(asked, str)
    assert asked[:2] == chat[:2]
    assert asked[2]["content"].startswith("2 + 2?\n\nHere are two solutions")
    said = [TAGS.verdict(f"<better>{word}</better>") for word in ("A", " B ", "C", "")]
    assert said == [0, 1, None, None]
    assert TAGS.verdict("<better>A</better> or no, <better>B</better>.") == 1
    assert TAGS.verdict("") is None and TAGS.verdict("A</better>") is None
    countdown = SYNTAXES["countdown"]
    assert (countdown.judge("24 3 5 7 8", "", ""), countdown.verdict("")) == (None, None)
    assert (Tournament().needs, Tournament(syntax="countdown").needs) == ((), ("token_ids",))
    assert Tournament(syntax="countdown", scorer="verifier").needs == ()


@pytest.mark.parametrize("name", ["n", "k"])
def test_knobs_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
        Tournament(**{name: 0})


def test_on_the_shipped_model_the_scorer_decides() -> None:
    item = countdown_item(Problem((3, 5, 7), 15), "countdown")
    sampling = SamplingParams(temperature=3.0, max_tokens=100)
    method = Tournament(n=6, scorer="verifier", syntax="countdown", sampling=sampling)

    async def main() -> Trajectory:
        model = connect("")
        scorers = scorers_of(item)
        done = await solve(method, item.prompt, {"policy": model}, scorers=scorers, seed=3)
        await model.close()
        return done

    done = asyncio.run(main())
    assert done.error is None and done.result is not None
    scores: dict[str, Any] = {n.thread: n.value for n in done.tree.notes if n.name == "score"}
    assert 1.0 in scores.values() and len(done.tree) == 7
    assert item.verify(done.result.answer)
    assert scores[done.result.thread] == 1.0
