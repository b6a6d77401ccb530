import random
from math import sqrt
from statistics import mean, median, stdev, variance
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import stats

from eval.estimates import AtK, by_question, maj_at, pass_at
from eval.intervals import bootstrap, bounded, like_these, this_set, wilson
from eval.metrics import (
    Estimate,
    Metrics,
    Spread,
    accuracy,
    accuracy_within,
    measure,
    spread,
)
from eval.samples import Sample
from eval.uncertainty import Uncertainty


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
        uncertainty=Uncertainty(
            standard_error=pytest.approx(0.2),  # sqrt(.2 * .8 / 4)
            standard_error_this_set=None,
            bootstrap=(0.0, pytest.approx(0.6)),  # binomial(5, .2) is over 3 in 0.7% of all cases
            this_set=None,
            between=None,
            within=None,
            icc=None,
        ),
        at_k={"avg@1": AtK(0.2, *bounded([1, 0, 0, 0, 0]), pytest.approx(0.2))},
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
        warnings={},
    )


def test_what_repeats_add() -> None:
    """The split of the variance written out, as each half of an analysis of variance has it."""
    marks = ["11", "10", "00", "01"]
    found = measure(graded(*marks))
    means = [1.0, 0.5, 0.0, 0.5]
    within = mean([0.0, 0.5, 0.0, 0.5])  # the unbiased variance of each pair
    between = variance(means) - within / 2
    limits = this_set(means, [2] * 4)
    assert found.uncertainty == Uncertainty(
        standard_error=pytest.approx(stdev(means) / 2),
        standard_error_this_set=pytest.approx(sqrt(within / 2 / 4)),
        bootstrap=bootstrap(means),
        this_set=limits,
        between=pytest.approx(between),
        within=pytest.approx(within),
        icc=pytest.approx(between / (between + within)),
    )
    questions = by_question(graded(*marks))
    assert found.at_k == {
        "avg@2": pass_at(questions, 1),
        "pass@2": pass_at(questions, 2),
        "maj@2": maj_at(questions, 2),
    }
    assert (found.accuracy.value, found.at_k["pass@2"].value) == (0.5, 0.75)
    assert list(measure(graded("1" * 6, "0" * 6)).at_k) == [
        "avg@6", "pass@2", "pass@4", "pass@6", "maj@2", "maj@4", "maj@6",
    ]  # fmt: skip
    assert list(measure(graded("111", "10")).at_k) == ["pass@2", "maj@2"]  # avg of what?


def test_nothing_is_certain_where_nothing_varies() -> None:
    for mark in "10":
        found = measure(graded(*[mark * 3] * 4))
        known = found.uncertainty
        assert (known.standard_error, known.standard_error_this_set) == (0.0, 0.0)
        assert (known.bootstrap, known.between, known.within, known.icc) == (None, 0.0, 0.0, 0.0)
        assert known.this_set == wilson(12 * int(mark), 12)
        assert found.accuracy.high - found.accuracy.low > 0.4
        for at in found.at_k.values():
            assert at.value == int(mark) and at.high - at.low > 0.4
    alike = measure(graded("10", "01", "10")).uncertainty  # as many of each question
    assert (alike.standard_error, alike.bootstrap, alike.between) == (0.0, None, 0.0)
    assert alike.this_set and alike.this_set[1] - alike.this_set[0] > 0.5
    alone = measure(graded("110")).uncertainty
    assert alone == Uncertainty(
        None, pytest.approx(1 / 3), None, this_set([2 / 3], [3]), None, None, None
    )
    grouped = measure([replace(row, group="g") for row in graded("11", "00")])
    assert grouped.uncertainty.bootstrap is None


def test_with_one_sample_a_question_it_is_wilsons_interval() -> None:
    reference = stats.binomtest(13, 20).proportion_ci(method="wilson")
    expected = Estimate(0.65, *map(pytest.approx, reference), "Wilson over questions")
    assert accuracy(graded(*"1" * 13, *"0" * 7)) == expected


@given(
    st.lists(st.lists(st.booleans(), min_size=2, max_size=5), min_size=2, max_size=12),
    st.data(),
)
def test_with_repeats_or_groups_it_is_that_of_questions_like_these(
    answers: list[list[bool]], data: st.DataObject
) -> None:
    groups = [data.draw(st.sampled_from(["", "a", "b"])) for _ in answers]
    rows = [
        sample(f"q{q}", r, a, group=groups[q])
        for q, given_ in enumerate(answers)
        for r, a in enumerate(given_)
    ]
    data.draw(st.randoms()).shuffle(rows)
    found = accuracy(rows)
    means = [mean(given_) for given_ in answers]
    own = [group or f"q{q}" for q, group in enumerate(groups)]
    units = len(set(own))
    limits = like_these(means, [len(given_) for given_ in answers], own) if units > 1 else (0, 1)
    method = {1: "none for a single group", len(means): "Wilson, clustered by question"}
    assert found == Estimate(
        pytest.approx(mean(means)),
        pytest.approx(limits[0]),
        pytest.approx(limits[1]),
        method.get(units, f"Wilson, clustered in {units} groups"),
    )


def test_repeats_of_few_questions_are_not_taken_for_many_questions() -> None:
    repeated = accuracy(graded("1111111111", "0000000000", "1111111111", "0000000000"))
    assert (repeated.low, repeated.high) == pytest.approx(wilson(2, 4))
    low, high = wilson(20, 40)  # what pooling the forty samples would claim
    assert (round(low, 2), round(high, 2)) == (0.35, 0.65)


def test_where_nothing_varies_the_interval_is_no_point() -> None:
    method = "Wilson, clustered by question"
    assert accuracy(graded("11", "11")) == Estimate(1.0, *wilson(2, 2), method)
    assert accuracy(graded("00", "00")) == Estimate(0.0, *wilson(0, 2), method)
    assert accuracy(graded("0010")) == Estimate(0.25, 0.0, 1.0, "none for a single question")
    for marks in (("10", "01"), ("1110", "1101", "1011")):  # all means are equal
        found = accuracy(graded(*marks * 10))
        pooled = wilson(sum(map("".join(marks).count, "1")) * 10, len("".join(marks)) * 10)
        assert (found.low, found.high) == pytest.approx(pooled)


def test_questions_that_are_variants_of_one_do_not_count_as_many() -> None:
    """Against the variance of the groups' sums, written out, and the quadratic of Wilson."""
    rng = random.Random(4)
    sizes = [rng.randint(1, 12) for _ in range(40)]
    chances = [rng.choice((0.2, 0.95)) for _ in sizes]
    right = [[rng.random() < p for _ in range(n)] for n, p in zip(sizes, chances, strict=True)]
    rows = [
        sample(f"{g}/{i}", correct=mark, group=f"g{g}")
        for g, marks in enumerate(right)
        for i, mark in enumerate(marks)
    ]
    n, p = sum(sizes), sum(map(sum, right)) / sum(sizes)
    residuals = [sum(marks) - p * len(marks) for marks in right]
    variance = sum(r * r for r in residuals) / n**2 * 40 / 39
    effect = variance / (p * (1 - p)) - 1 / n
    df = min(sum(not all(m) for m in right), sum(any(m) for m in right)) - 1
    widened = 1 / n + effect * (stats.t.ppf(0.975, df) / stats.norm.ppf(0.975)) ** 2
    slack = stats.norm.ppf(0.975) ** 2 * widened
    centre, half = p + slack / 2, sqrt(slack * (p * (1 - p) + slack / 4))
    expected = ((centre - half) / (1 + slack), (centre + half) / (1 + slack))
    found = accuracy(rows)
    assert (found.value, found.method) == (pytest.approx(p), "Wilson, clustered in 40 groups")
    assert (found.low, found.high) == pytest.approx(expected)
    alone = accuracy([replace(row, group="") for row in rows])
    assert alone.method == "Wilson over questions"
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


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
