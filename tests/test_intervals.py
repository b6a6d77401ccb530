"""The intervals, against scipy and formulas written out another way."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.intervals import (
    bootstrap,
    bounded,
    like_these,
    mover,
    paired,
    student,
    this_set,
    wilson,
)

QUESTIONS = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=12,
)
Q, N = 40, 8
RIGHT = np.random.default_rng(5).binomial(N, np.random.default_rng(6).beta(0.5, 0.3, Q))
SAMPLES = np.full(Q, N)


@given(QUESTIONS)
def test_intervals_hold_the_estimate_and_mirror_when_right_and_wrong_change_sides(
    questions: list[tuple[int, int]],
) -> None:
    right, n = (np.array(column) for column in zip(*questions, strict=True))
    for interval in (like_these, this_set, lambda x, _: bounded(x)):
        found, mirrored = interval(right / n, n), interval(1 - right / n, n)
        if found is None or mirrored is None:
            assert interval is this_set and n.min() == 1
            continue
        assert 0 <= found[0] <= (right / n).mean() + 1e-12 and found[1] <= 1
        assert found[1] >= (right / n).mean() - 1e-12
        assert mirrored == pytest.approx((1 - found[1], 1 - found[0]), abs=1e-9)


@given(st.integers(2, 60), st.data())
def test_with_one_sample_a_question_it_is_wilsons_interval(size: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, size))
    answers = [1] * right + [0] * (size - right)
    found = like_these(answers, [1] * size)
    reference = stats.binomtest(right, size).proportion_ci(method="wilson")
    assert found == pytest.approx((reference.low, reference.high), abs=1e-9)


def written_out(mean: float, effective: float) -> tuple[float, float]:
    """Wilson's interval as the roots of its quadratic equation."""
    z = stats.norm.ppf(0.975)
    roots = np.roots(
        [1 + z**2 / effective, -(2 * mean + z**2 / effective), mean**2],
    )
    return min(roots), max(roots)


def test_questions_like_these_written_out() -> None:
    x = RIGHT / N
    icc = (N * x.var(ddof=1) / (x.mean() * (1 - x.mean())) - 1) / (N - 1)
    informative = min(sum(RIGHT < N), sum(RIGHT > 0))
    widened = icc * (stats.t.ppf(0.975, informative - 1) / stats.norm.ppf(0.975)) ** 2
    expected = written_out(x.mean(), Q * N / (1 + (N - 1) * widened))
    assert 0 < icc < widened < 1
    assert like_these(x, SAMPLES) == pytest.approx(expected)


def test_this_set_written_out() -> None:
    x = RIGHT / N
    variance = np.mean(x * (1 - x) / (N - 1)) / Q
    df = (N - 1) * sum((RIGHT > 0) & (RIGHT < N))
    variance *= (stats.t.ppf(0.975, df) / stats.norm.ppf(0.975)) ** 2
    expected = written_out(x.mean(), x.mean() * (1 - x.mean()) / variance)
    assert this_set(x, SAMPLES) == pytest.approx(expected)


def test_this_set_is_narrower_and_shrinks_with_repeats_while_questions_like_these_does_not() -> (
    None
):
    def widths(n: int) -> list[float]:
        means, samples = np.arange(31) / 30, np.full(31, n)
        found = like_these(means, samples), this_set(means, samples)
        return [high - low for low, high in filter(None, found)]

    (like, this), (like_more, this_more) = widths(30), widths(3000)
    assert this < like and this_more == pytest.approx(this / 10, rel=0.1)
    assert like_more == pytest.approx(like, rel=0.1)


def test_where_all_is_right_neither_reading_is_certain() -> None:
    assert like_these([1.0] * 30, [16] * 30) == wilson(30, 30)  # each question may be luck
    assert this_set([1.0] * 30, [16] * 30) == wilson(480, 480)
    assert this_set([1.0, 0.0] * 15, [16] * 30) == pytest.approx(wilson(240, 480))
    assert this_set([1.0, 0.5], [1, 2]) is None


def test_questions_of_one_group_count_as_one() -> None:
    x = RIGHT / N
    twice, groups = np.repeat(x, 2), np.repeat(np.arange(Q), 2)
    alone = like_these(x, SAMPLES)
    grouped = like_these(twice, np.repeat(SAMPLES, 2), groups.tolist())
    assert grouped == pytest.approx(alone, rel=0.05)
    free = like_these(twice, np.repeat(SAMPLES, 2))
    assert free[1] - free[0] < 0.8 * (grouped[1] - grouped[0])
    singles = like_these(x, SAMPLES, [f"g{i}" for i in range(Q)])
    assert singles == pytest.approx(alone)


def test_the_variance_of_groups_is_that_of_their_sums() -> None:
    rng = np.random.default_rng(2)
    x, groups = rng.random(60), rng.permutation(60) // 3
    sums = [(x - x.mean())[groups == g].sum() for g in range(20)]
    variance = np.square(sums).sum() * 20 / 19 / 60**2
    floor = 1 / (60 * 50)
    effect = variance / (x.mean() * (1 - x.mean()))
    widened = floor + (effect - floor) * (stats.t.ppf(0.975, 19) / stats.norm.ppf(0.975)) ** 2
    found = like_these(x, [50] * 60, groups.tolist())
    assert found == pytest.approx(written_out(x.mean(), 1 / widened))


def test_student_is_scipys() -> None:
    reference = stats.ttest_1samp(RIGHT / N, 0).confidence_interval(0.95)
    assert student(RIGHT / N) == pytest.approx((reference.low, reference.high))


def test_the_bootstrap_is_that_of_the_questions() -> None:
    rng = np.random.default_rng(7)
    drawn = rng.choice(RIGHT / N, size=(20_000, Q)).mean(axis=1)
    found = bootstrap(RIGHT / N)
    assert found == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.01)
    assert found == bootstrap(RIGHT / N)


def test_a_paired_interval_is_narrower_the_more_the_methods_agree() -> None:
    x, shifted = RIGHT / N, np.roll(RIGHT, 7) / N
    agreeing = paired(x, SAMPLES, np.clip(x - 0.125, 0, 1), SAMPLES)
    apart = paired(x, SAMPLES, np.clip(shifted - 0.125, 0, 1), SAMPLES)
    assert agreeing[1] - agreeing[0] < 0.5 * (apart[1] - apart[0])
    assert paired(x, SAMPLES, np.zeros(Q), SAMPLES)[0] > 0  # a side that does not vary


def test_distances_add_up_as_standard_errors_do() -> None:
    low, high = mover(0.6, (0.5, 0.7), 0.4, (0.3, 0.5))
    assert (low, high) == pytest.approx((0.2 - sqrt(0.02), 0.2 + sqrt(0.02)))
    low, high = mover(0.6, (0.5, 0.7), 0.4, (0.3, 0.5), correlation=0.5)
    assert (low, high) == pytest.approx((0.1, 0.3))
    low, high = mover(0.6, (0.5, 0.7), 0.4, (0.3, 0.5), correlation=1.0)
    assert (low, high) == pytest.approx((0.2, 0.2))
