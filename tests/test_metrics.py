import random
from dataclasses import replace
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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
        in_thought=0.0,
        ungraded=0,
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
