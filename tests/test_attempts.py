"""Attempts that read earlier ones: what they check, skip, search and hand on."""

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.syntax import syntax_of
from eval.countdown import Problem, Step, generate, moves, solve
from eval.tasks import countdown_item
from eval.verifier import verify
from rl.attempts import (
    MOST,
    Attempt,
    attempt,
    checked,
    false_claim,
    ruled_out,
    sent_on,
    serial_cut,
    workspace,
)
from rl.examples import examples
from rl.recipe import Mixture
from rl.traces import serial
from rl.vocabulary import NAMED

SYNTAX = syntax_of("countdown")
PROBLEMS = list(islice(generate(4, "val", 1), 25))


def good(problem: Problem) -> set[Step]:
    return {step for step, rest in moves(problem.numbers) if solve(rest, problem.target)}


@pytest.mark.parametrize("k", [2, 4, 8])
def test_an_attempt_by_itself(k: int) -> None:
    outcomes = set()
    for problem in PROBLEMS:
        walk = attempt(problem, k, [], random.Random(0))
        text = " ".join(walk.whole().written)
        answer, solution = SYNTAX.answer(text), SYNTAX.solution(text)
        outcomes.add(answer is None)
        if answer is None:
            passed = [step for _, step in walk.passed]
            assert len(passed) == min(k, len(moves(problem.numbers)))
            assert not set(passed) & good(problem)
            assert solution == " ".join(ruled_out(passed))
        else:
            assert verify(answer, problem) and solution == answer
    assert outcomes == {True, False}


def test_what_was_ruled_out_is_skipped_and_the_walk_goes_round() -> None:
    for problem in PROBLEMS:
        order = [step for step, _ in moves(problem.numbers)]
        bad = [step for step in order if step not in good(problem)]
        if not bad or len(set(order)) < len(order):
            continue
        known = tuple(bad[: len(bad) // 2 + 1])
        walk = attempt(problem, 100, [Attempt(False, known)], random.Random(0))
        assert walk.found, "every operation that is left was searched"
        named = walk.written.count("tried")
        searched = len(walk.passed) - named + 1
        assert named <= len(known) and searched <= len(order) - len(known)
        assert walk.passed[0][1] == known[0]


def test_rounds_of_attempts_come_to_an_end() -> None:
    for problem in PROBLEMS[:10]:
        rng, earlier = random.Random(3), list[Attempt]()
        for _ in range(len(moves(problem.numbers))):
            walk = attempt(problem, 2, earlier, rng)
            if walk.found:
                break
            earlier = [Attempt(False, tuple(step for _, step in walk.passed))]
        assert walk.found and verify(SYNTAX.answer(" ".join(walk.whole().written)), problem)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_claims_are_checked(seed: int) -> None:
    rng = random.Random(seed)
    problem = PROBLEMS[seed % len(PROBLEMS)]
    claim = false_claim(problem, rng)
    words: list[str] = []
    path = " , ".join(map(str, claim))
    assert checked(claim, problem, words) == verify(path, problem)
    assert words[0] == "check" and words[-1] == ("hit" if verify(path, problem) else "no")
    right = solve(problem.numbers, problem.target)
    assert right is not None and checked(right, problem, [])
    walk = attempt(problem, 2, [Attempt(True, claim), Attempt(True, right)], rng)
    assert walk.found is not None
    assert verify(" , ".join(map(str, walk.found)), problem)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_workspace_is_what_attempts_leave_behind(seed: int) -> None:
    problem = PROBLEMS[seed % len(PROBLEMS)]
    found = workspace(problem, random.Random(seed))
    assert len(found) <= MOST
    for earlier in found:
        assert earlier.steps
        if not earlier.claim:
            assert not set(earlier.steps) & good(problem)
    shown = [" ".join(earlier.words()) for earlier in found]
    walk = attempt(problem, 4, found, random.Random(seed))
    text = countdown_item(problem, "countdown").prompt
    assert " ".join(walk.context) == SYNTAX.attempt(text, shown, 4)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_cut_attempt_answers_from_what_it_has(seed: int) -> None:
    problem = PROBLEMS[seed % len(PROBLEMS)]
    walk = attempt(problem, 4, [], random.Random(seed))
    cut = walk.cut(random.Random(seed))
    assert cut.context[-1] == "<ans>" and cut.written[-1] == "<eos>"
    kept = cut.context[len(walk.context) : -1]
    assert walk.written[: len(kept)] == kept
    done = [step for end, step in walk.passed if end <= len(kept)]
    whole = bool(walk.found) and len(kept) == len(walk.written)
    expected = walk.solution(len(kept)) if whole else ruled_out(done)
    assert cut.written == [*expected, "<eos>"]


def test_a_search_is_sent_on_where_it_gave_up() -> None:
    solved = 0
    for problem in PROBLEMS:
        for seed in range(5):
            further = sent_on(problem, 2, random.Random(seed))
            if further is None:
                continue
            assert further.context[-1] == "wait" and "hit" not in further.context
            text = " ".join(further.written)
            answer = SYNTAX.answer(text)
            solved += answer is not None
            assert answer is None or verify(answer, problem)
            one = serial(problem, 2, random.Random(seed))
            first = further.context[: further.context.index("wait")]
            assert " ".join(first).startswith(" ".join(one.context))
    assert solved


def test_a_serial_search_that_is_cut_found_nothing() -> None:
    for problem in PROBLEMS[:5]:
        one = serial(problem, 0, random.Random(0))
        cut = serial_cut(one, random.Random(1))
        assert cut.written == ["fail", "<eos>"] and cut.context[-1] == "<ans>"
        kept = cut.context[len(one.context) : -1]
        assert kept == one.written[: len(kept)] and "<ans>" not in kept


def test_a_mixture_holds_them_and_its_words_are_tokens() -> None:
    mixture = Mixture(root=False, children=0, serial=0.5, attempts=1.0, cut=0.5, sent_on=0.5)
    drawn = list(islice(examples(mixture, 0), 300))
    assert {example.kind for example in drawn} == {"serial", "attempt", "forced"}
    assert {word for e in drawn for word in e.context + e.written} <= set(NAMED)
    assert drawn == list(islice(examples(mixture, 0), 300))


def test_a_recipe_without_them_draws_what_it_did() -> None:
    plain = list(islice(examples(Mixture(serial=0.6), 0), 200))
    assert {example.kind for example in plain} == {"root", "child", "serial"}
