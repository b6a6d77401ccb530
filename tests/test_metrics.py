import random
from dataclasses import replace
from itertools import product
from statistics import mean, median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.comparison import Difference, paired_difference
from eval.metrics import (
    Estimate,
    Metrics,
    Spread,
    accuracy,
    accuracy_within,
    measure,
    spread,
    wilson,
)
from eval.samples import Sample
from reason.errors import UsageError


def sample(question: str, repeat: int = 0, correct: bool = False, **changes: Any) -> Sample:
    figures: dict[str, Any] = {
        "answer": "42",
        "error": None,
        "failed": False,
        "limit": None,
        "finish": "eos",
        "thread": "0",
        "critical_path": 10,
        "total_tokens": 10,
        "longest_sequence": 20,
        "prompt_tokens": 8,
        "cached_tokens": 0,
        "threads": 1,
        "peak_threads": 1,
    }
    return Sample(id=question, repeat=repeat, correct=correct, **{**figures, **changes})


def graded(*questions: str) -> list[Sample]:
    """graded("110", "0") is a question answered right, right and wrong, and another once wrong."""
    return [
        sample(f"q{number}", repeat, mark == "1")
        for number, marks in enumerate(questions)
        for repeat, mark in enumerate(marks)
    ]


def test_every_figure_of_an_evaluation() -> None:
    rows = [
        sample("a", correct=True, threads=4, critical_path=10, total_tokens=40),
        sample("b", answer=None, finish="length", critical_path=20, total_tokens=20),
        sample("c", answer="7", limit="threads", critical_path=30, total_tokens=30),
        sample(
            "d",
            answer=None,
            finish="budget",
            limit="total_tokens",
            error="the run reached budget.total_tokens=10",
            critical_path=40,
            total_tokens=40,
        ),
        sample("e", answer=None, finish="error", error="BackendError: gone", failed=True),
    ]
    random.Random(0).shuffle(rows)
    low, high = wilson(1, 5)
    assert measure(rows) == Metrics(
        questions=5,
        samples=5,
        accuracy=Estimate(0.2, low, high, "Wilson over questions"),
        critical_path=Spread(22.0, 20.0, 38.0),
        total_tokens=140,
        tokens_per_sample=Spread(28.0, 30.0, 40.0),
        longest_sequence=Spread(20.0, 20.0, 20.0),
        threads=Spread(1.6, 1.0, pytest.approx(3.4)),
        spawned=0.2,
        truncated=0.4,
        limited=0.4,
        unanswered=0.6,
        false_claims=0.2,
        errors=1,
    )


@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    reference = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((reference.low, reference.high), abs=1e-12)


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=2, max_size=12).filter(
        lambda q: max(map(len, q)) > 1 and 0 < mean(map(mean, q)) < 1
    )
)
def test_accuracy_of_repeats_is_students_t_over_question_means(answers: list[list[bool]]) -> None:
    rows = [sample(str(q), r, a) for q, given_ in enumerate(answers) for r, a in enumerate(given_)]
    means = [mean(given_) for given_ in answers]
    assert (found := accuracy(rows)) == replace(found, method="Student's t over question means")
    assert found.value == pytest.approx(mean(means))
    if len(set(means)) > 1:
        reference = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        limits = (max(reference.low, 0), min(reference.high, 1))
        assert (found.low, found.high) == pytest.approx(limits)


def test_repeats_of_few_questions_are_not_taken_for_many_questions() -> None:
    repeated = accuracy(graded("1111111111", "0000000000", "1111111111", "0000000000"))
    assert repeated == Estimate(0.5, 0.0, 1.0, "Student's t over question means")
    low, high = wilson(20, 40)  # what pooling the forty samples would claim
    assert (round(low, 2), round(high, 2)) == (0.35, 0.65)


def test_accuracy_where_t_would_claim_certainty() -> None:
    assert accuracy(graded("11", "11")) == Estimate(1.0, *wilson(2, 2), "Wilson over questions")
    assert accuracy(graded("00", "00")) == Estimate(0.0, *wilson(0, 2), "Wilson over questions")
    assert accuracy(graded("0010")) == Estimate(0.25, 0.0, 1.0, "none for a single question")


@pytest.mark.parametrize("questions, repeats, spread_", [(40, 1, 0.0), (25, 8, 0.25)])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    questions: int, repeats: int, spread_: float
) -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(400):
        rows = []
        for question in range(questions):
            chance = 0.6 + rng.choice((-spread_, spread_))
            rows += [sample(str(question), r, rng.random() < chance) for r in range(repeats)]
        found = accuracy(rows)
        hits += found.low <= 0.6 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
def test_spread_is_mean_median_and_the_interpolated_percentile(values: list[int]) -> None:
    ordered, place = sorted(values), 0.95 * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    p95 = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    found = spread(values)
    expected = (mean(values), median(values), p95)
    assert (found.mean, found.median, found.p95) == pytest.approx(expected)


def test_accuracy_within_a_budget() -> None:
    rows = [
        sample("a", correct=True, critical_path=10, total_tokens=90),
        sample("b", correct=True, critical_path=20, total_tokens=20),
        sample("c", correct=False, critical_path=5, total_tokens=5),
        sample("d", correct=True, critical_path=30, total_tokens=30),
    ]
    assert accuracy_within(rows, "critical_path", [4, 5, 10, 29, 30]) == [0, 0, 0.25, 0.5, 0.75]
    assert accuracy_within(rows, "total_tokens", [10, 30, 90]) == [0, 0.5, 0.75]
    assert accuracy_within(rows, "longest_sequence", [19, 20]) == [0, 0.75]


def exact_sign_flip(differences: list[float]) -> float:
    seen = abs(sum(differences))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(total >= seen - 1e-9 for total in flips) / len(flips)


def test_paired_difference_of_repeats_by_every_flip_of_signs() -> None:
    first = graded("111", "110", "111", "100", "111", "011", "111", "010")
    second = graded("100", "110", "011", "100", "010", "001", "111", "000")
    means = [2 / 3, 0, 1 / 3, 0, 2 / 3, 1 / 3, 0, 1 / 3]
    found = paired_difference(first, second)
    # the percentile bootstrap, drawn independently of the code under test
    rng = np.random.default_rng(7)
    drawn = rng.choice(means, size=(40_000, 8)).mean(axis=1)
    assert found == Difference(
        questions=8,
        mean=pytest.approx(mean(means)),
        low=pytest.approx(np.quantile(drawn, 0.025), abs=0.015),
        high=pytest.approx(np.quantile(drawn, 0.975), abs=0.015),
        p_value=pytest.approx(exact_sign_flip(means)),
        test="sign-flip permutation",
    )
    assert paired_difference(first, second) == found
    mirrored = paired_difference(second, first)
    assert (mirrored.mean, mirrored.p_value) == pytest.approx((-found.mean, found.p_value))


def test_paired_difference_of_many_questions() -> None:
    rng = random.Random(3)
    sides = [
        [sample(str(q), r, rng.random() < p) for q in range(200) for r in range(4)]
        for p in (0.58, 0.5)
    ]
    by_question = np.array([[row.correct for row in side] for side in sides]).reshape(2, 200, 4)
    difference = by_question.mean(axis=2)[0] - by_question.mean(axis=2)[1]
    limits = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    signs = np.random.default_rng(8).choice((-1, 1), size=(20_000, 200))
    seen = abs((signs * difference).sum(axis=1)) >= abs(difference.sum()) - 1e-9
    assert paired_difference(*sides) == Difference(
        questions=200,
        mean=pytest.approx(difference.mean()),
        low=pytest.approx(limits.low, abs=0.005),
        high=pytest.approx(limits.high, abs=0.005),
        p_value=pytest.approx(seen.mean(), abs=0.01),
        test="sign-flip permutation",
    )


@pytest.mark.parametrize("won, lost, same", [(7, 1, 5), (3, 3, 0), (0, 4, 9), (0, 0, 6)])
def test_paired_difference_of_single_samples_is_mcnemars(won: int, lost: int, same: int) -> None:
    first = graded(*"1" * won, *"0" * lost, *"1" * same)
    second = graded(*"0" * won, *"1" * lost, *"1" * same)
    found = paired_difference(first, second)
    # among discordant pairs every assignment of winners is equally likely
    discordant = [1.0] * won + [-1.0] * lost
    assert found.p_value == pytest.approx(exact_sign_flip(discordant))
    assert found.test == "McNemar exact"
    assert found.mean == pytest.approx((won - lost) / (won + lost + same))
    assert found.low <= found.mean <= found.high


def test_pairing_finds_what_two_intervals_side_by_side_would_not() -> None:
    first = graded(*"1" * 30, *"1" * 8, *"0" * 22)
    second = graded(*"1" * 30, *"0" * 8, *"0" * 22)
    assert accuracy(second).high > accuracy(first).low
    assert paired_difference(first, second).p_value == pytest.approx(2 / 2**8)


def test_a_comparison_needs_the_same_questions() -> None:
    with pytest.raises(UsageError) as error:
        paired_difference(graded("1", "1", "0"), graded("1", "1"))
    assert str(error.value) == (
        "a paired comparison needs the same questions on both sides; 1 are on one side only, "
        "such as 'q2'"
    )
    with pytest.raises(UsageError) as error:
        paired_difference(graded("1"), graded("0"))
    assert str(error.value) == "a paired comparison needs at least two questions, got 1"
