"""Adaptive consistency: when the vote ends, against brute force, and the method driven whole."""

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.self_consistency import SelfConsistency
from controllers.stability import AdaptiveConsistency, overtaking, settled
from eval.countdown import Problem
from eval.tasks import countdown_item
from reason.answers import majority
from reason.backends.connect import connect
from reason.backends.scripted import Script
from reason.errors import BackendError
from reason.ledger import Budget
from reason.run import Trajectory, solve
from reason.types import Result, SamplingParams
from tests.runs import run


def in_turn(texts: Sequence[str]) -> Script:
    left = iter(texts)

    def script(context: str, params: SamplingParams) -> str:
        text = next(left)
        if text == "dead":
            raise BackendError("connection refused")
        return text

    return script


@st.composite
def votes(draw: st.DrawFn) -> tuple[dict[int, str | None], int]:
    """Some of up to seven chains have voted, in any order, and at most four have not."""
    n = draw(st.integers(1, 7))
    running = draw(st.sets(st.integers(0, n - 1), max_size=min(n, 4)))
    choices = st.sampled_from(["1", "2", "3", None])
    return {index: draw(choices) for index in range(n) if index not in running}, n


@settings(max_examples=300, deadline=None)
@given(votes())
def test_certain_is_what_no_completion_changes(case: tuple[dict[int, str | None], int]) -> None:
    voted, n = case
    left = [index for index in range(n) if index not in voted]
    outcomes = set()
    for rest in product(["1", "2", "3", "4", None], repeat=len(left)):
        whole = {**voted, **dict(zip(left, rest, strict=True))}
        outcomes.add(majority([whole[index] for index in range(n)]).answer)
    assert settled(voted, n, 0) == (len(outcomes) == 1)


def urn(leader: int, rival: int, left: int, tie: bool) -> Fraction:
    """A vote at a time: with a uniform prior, the next one is the rival's by Laplace's rule."""
    if not left:
        return Fraction(rival > leader or (tie and rival == leader))
    chance = Fraction(rival + 1, leader + rival + 2)
    lost, kept = urn(leader, rival + 1, left - 1, tie), urn(leader + 1, rival, left - 1, tie)
    return chance * lost + (1 - chance) * kept


@pytest.mark.parametrize("leader", range(1, 7))
@pytest.mark.parametrize("left", range(1, 7))
def test_the_chance_of_being_overtaken_is_that_of_an_urn(leader: int, left: int) -> None:
    for rival in range(leader + 1):
        first = list(range(leader))  # the leader's chains come first: a tie is its own
        second = list(range(leader, leader + rival))
        later = list(range(leader + rival, leader + rival + left))
        assert overtaking(first, second, later) == pytest.approx(
            float(urn(leader, rival, left, tie=False)), abs=1e-12
        )
        # And here last, so that a tie is the rival's.
        behind = [99 + index for index in first]
        assert overtaking(behind, second, later) == pytest.approx(
            float(urn(leader, rival, left, tie=True)), abs=1e-12
        )


def test_more_doubt_ends_a_vote_no_later() -> None:
    voted: dict[int, str | None] = {0: "1", 1: "1", 2: "1", 3: "2"}
    chance = overtaking([0, 1, 2], [3], range(4, 10))
    assert 0.01 < chance < 0.2
    assert [settled(voted, 10, doubt) for doubt in (0, chance * 0.99, chance * 1.01)] == [
        False,
        False,
        True,
    ]
    assert not settled({0: None, 1: None}, 5, 0.99)
    assert settled({0: None, 1: None}, 2, 0)


LONG = "." * 4000
ONE, TWO = "\\boxed{1}", "\\boxed{2}"


def test_the_vote_ends_once_it_is_decided() -> None:
    done = run(AdaptiveConsistency(n=5, doubt=0), in_turn([LONG, ONE, ONE, LONG, ONE]))
    assert done.result == Result("1", "0.1")
    assert [t.finish for t in done.tree][1:] == ["cancelled", "eos", "eos", "cancelled", "eos"]
    assert [(n.name, n.value) for n in done.tree.notes] == [
        ("vote", {"answer": "1", "share": 1.0, "voters": 3})
    ]
    assert done.tree.joins[-1].children == ("0.1", "0.2", "0.4")
    assert done.tree.critical_path == len(ONE)
    assert done.ledger.total_tokens < 200


@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        # Two of four: the others may make it a tie, which the earlier answer wins.
        ([ONE, ONE, LONG + TWO, LONG + TWO], 2),
        ([LONG + TWO, ONE, ONE, LONG + TWO], 0),
        # Blanks leave the lead as it is, and fewer who might change it.
        ([ONE, "none", "dead", "none", LONG], 1),
    ],
)
def test_a_tie_is_decided_by_who_is_first_in_the_list(texts: list[str], cut: int) -> None:
    done = run(AdaptiveConsistency(n=len(texts), doubt=0), in_turn(texts))
    whole = run(SelfConsistency(n=len(texts)), in_turn(texts))
    assert done.result and whole.result and done.result.answer == whole.result.answer
    assert [t.finish for t in done.tree].count("cancelled") == cut


def test_with_doubt_it_ends_earlier() -> None:
    texts = [ONE] * 5 + [LONG] * 11
    certain = run(AdaptiveConsistency(n=16, doubt=0), in_turn(texts))
    doubtful = run(AdaptiveConsistency(n=16, doubt=0.05), in_turn(texts))
    assert certain.result == doubtful.result == Result("1", "0.0")
    assert doubtful.tree.critical_path == len(ONE) < certain.tree.critical_path == len(LONG)


def test_waves_are_started_as_they_are_needed_and_wait_for_each_other() -> None:
    asked: list[str] = []
    texts = iter([ONE, TWO + "..", ONE, ONE + "...", TWO, TWO, TWO])

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return next(texts)

    done = run(AdaptiveConsistency(n=7, doubt=0, wave=2), script)
    # 1 2 | 1 1 | 2 2: three and three, and the last could decide: it is 2.
    assert (done.result, len(asked)) == (Result("2", "0.1"), 7)
    assert done.tree.critical_path == len(TWO + "..") + len(ONE + "...") + 2 * len(TWO)
    texts = iter([ONE, TWO, ONE, ONE, ONE])
    asked.clear()
    done = run(AdaptiveConsistency(n=7, doubt=0, wave=1), script)
    assert (done.result, len(asked), len(done.tree)) == (Result("1", "0.0"), 5, 6)


def test_where_every_chain_fails() -> None:
    done = run(AdaptiveConsistency(n=3), in_turn(["dead"] * 3))
    assert (done.result, done.error) == (Result(None, "0.0"), None)
    short = run(AdaptiveConsistency(n=2), in_turn([ONE * 90] * 2), budget=Budget(critical_path=20))
    assert (short.result, short.limit) == (Result(None, "0.0"), "critical_path")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n": 0}, "n must be 1 or more, got 0"),
        ({"doubt": 1.0}, r"doubt must be in \[0, 1\), got 1.0"),
        ({"doubt": -0.1}, r"doubt must be in \[0, 1\), got -0.1"),
        ({"wave": -1}, r"wave must be 0 \(all at once\) or more, got -1"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveConsistency(**knobs)


def test_on_the_shipped_model_it_finds_what_the_whole_vote_finds() -> None:
    item = countdown_item(Problem((3, 5, 7), 15), "countdown")
    sampling = SamplingParams(temperature=0.7, max_tokens=200)
    certain = AdaptiveConsistency(n=6, doubt=0, syntax="countdown", sampling=sampling)
    vote = SelfConsistency(n=6, syntax="countdown", sampling=sampling)

    async def main() -> list[Trajectory]:
        model = connect("")
        found = [await solve(m, item.prompt, {"policy": model}, seed=1) for m in (certain, vote)]
        await model.close()
        return found

    early, whole = asyncio.run(main())
    assert early.result and whole.result
    assert early.result.answer == whole.result.answer
    assert item.verify(early.result.answer)
    assert early.ledger.total_tokens <= whole.ledger.total_tokens
