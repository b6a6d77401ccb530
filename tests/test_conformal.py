"""The conformal core, against its definition, the library crepes, and what theory says of rates."""

from math import ceil, inf, nan

import numpy as np
import pytest
from crepes.base import p_values_batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from calibration.conformal import (
    Reference,
    Weighted,
    expected,
    needed,
    rank,
    shortage,
    tie_break,
)
from reason.errors import UsageError

LEVELS = st.lists(st.integers(0, 5).map(float), max_size=30)
RATES = st.floats(-0.5, 1.5)
U = st.floats(0, 1, exclude_max=True)


@given(LEVELS, st.integers(-1, 6).map(float), RATES, U)
def test_a_score_is_rejected_if_it_stands_above_the_kth_smallest(
    scores: list[float], score: float, rate: float, u: float
) -> None:
    found, k = Reference.of(scores), rank(len(scores), rate)
    ordered = [-inf, *sorted(scores), inf]
    assert found.threshold(rate) == (ordered[k] if k <= len(scores) else inf)
    rejected = bool(found.rejects(score, rate, u))
    if score > found.threshold(rate):
        assert rejected
    elif score < found.threshold(rate):
        assert not rejected
    else:  # a tie: it takes one of the places beside its equals
        equal = sum(s == score for s in scores)
        lower = sum(s < score for s in scores)
        assert rejected == (lower + int(u * (equal + 1)) >= k)
    if 0 <= rate <= 1 and abs((len(scores) + 1) * rate % 1 - 0.5) < 0.49:
        assert rejected == bool(found.p_values(score, u) <= rate)


@given(LEVELS, st.integers(-1, 6).map(float), U)
def test_more_are_rejected_of_a_higher_rate_and_of_a_higher_score(
    scores: list[float], score: float, u: float
) -> None:
    found, rates = Reference.of(scores), [0, 0.1, 0.25, 0.4, 0.5, 0.75, 0.9, 1]
    by_rate = [bool(found.rejects(score, rate, u)) for rate in rates]
    assert by_rate == sorted(by_rate) and (by_rate[0], by_rate[-1]) == (False, True)
    thresholds = [found.threshold(rate) for rate in rates]
    assert thresholds == sorted(thresholds, reverse=True)
    higher = found.p_values([score - 1, score, score + 1], u)
    assert np.all(np.diff(higher) <= 0)


@given(LEVELS, st.integers(-1, 6).map(float), U)
def test_p_values_by_their_definition(scores: list[float], score: float, u: float) -> None:
    found, n = Reference.of(scores), len(scores)
    above, equal = sum(s > score for s in scores), sum(s == score for s in scores)
    p, smoothed = float(found.p_values(score, u)), float(found.smoothed(score, u))
    assert p == (above + equal + 1 - int(u * (equal + 1))) / (n + 1)
    assert smoothed == pytest.approx((above + (1 - u) * (equal + 1)) / (n + 1))
    assert -1e-9 <= p - smoothed <= 1 / (n + 1) + 1e-9
    assert float(found.p_values(score, 0.0)) == (above + equal + 1) / (n + 1)


def test_rates_at_the_ends_and_thresholds_of_a_known_sample() -> None:
    found = Reference.of([5, 1, 4, 2, 3, 6, 9, 7, 8])
    assert [rank(9, a) for a in (0, 0.05, 0.1, 0.3, 0.4, 0.9, 1)] == [10, 10, 9, 7, 6, 1, 0]
    assert [found.threshold(a) for a in (0, 0.05, 0.1, 0.4, 0.9, 1)] == [inf, inf, 9, 6, 1, -inf]
    assert [expected(9, a) for a in (-1, 0, 0.45, 1, 2)] == [0, 0, 0.4, 1, 1]
    scores = [-100.0, 0.5, 6.0, 6.5, 100.0]
    middle = [0.5] * 5
    assert found.rejects(scores, 0, middle).tolist() == [False] * 5
    assert found.rejects(scores, 1, middle).tolist() == [True] * 5
    assert found.rejects(scores, 0.4, 0).tolist() == [False, False, False, True, True]


def test_what_is_not_finite_is_rejected_at_any_rate() -> None:
    for found in (Reference.of([1.0, 2.0]), Reference.of([])):
        for rate in (-1.0, 0.0, 0.4, 1.0):
            assert found.rejects([nan, inf, -inf], rate, 0).tolist() == [True] * 3
    with pytest.raises(UsageError, match="a calibration score is nan, expected a finite number"):
        Reference.of([1.0, nan])


def test_too_few_scores_reject_nothing_and_say_how_many_are_needed() -> None:
    assert [needed(a) for a in (0.4, 0.25, 0.1, 0.01, 1, 0)] == [2, 3, 9, 99, 0, None]
    for rate in (0.4, 0.25, 0.1, 0.01):
        least = needed(rate)
        assert least is not None
        short, enough = Reference.of(range(least - 1)), Reference.of(range(least))
        assert (short.threshold(rate), enough.threshold(rate)) == (inf, least - 1)
    assert shortage(9, 0.1) is None and shortage(0, 0) is None
    assert shortage(8, 0.1, "turn 3") == (
        "group 'turn 3' has 8 scores and a rate of 0.1 needs 9: its threshold is infinite and "
        "nothing there is rejected; calibrate on more questions, or choose a higher rate"
    )


def test_the_tie_break_depends_on_its_place_alone() -> None:
    drawn = [tie_break(0, chain, turn) for chain in range(50) for turn in range(40)]
    assert drawn == [tie_break(0, chain, turn) for chain in range(50) for turn in range(40)]
    assert min(drawn) >= 0 and max(drawn) < 1 and len(set(drawn)) == 2000
    assert tie_break(0, "1", 2) != tie_break(0, 1, 2) != tie_break(1, 1, 2)
    assert stats.kstest(drawn, "uniform").pvalue > 0.01


def test_smoothed_and_plain_p_values_are_those_of_crepes() -> None:
    rng = np.random.default_rng(0)
    for levels in (3, 10**9):
        held = rng.integers(0, levels, 200).astype(float)
        judged = rng.integers(0, levels, 300).astype(float)
        groups, asked = rng.integers(0, 3, 200), rng.integers(0, 3, 300)
        np.random.seed(7)
        drawn = np.random.rand(300)
        found = Reference.of(held)
        reference = p_values_batch(held, judged, seed=7)
        assert found.smoothed(judged, 1 - drawn) == pytest.approx(reference)
        reference = p_values_batch(held, judged, smoothing=False)
        assert found.p_values(judged, 0.0) == pytest.approx(reference)
        # crepes draws group by group
        np.random.seed(7)
        reference = p_values_batch(held, judged, groups, asked, seed=7)
        for group in range(3):
            drawn = np.random.rand(int((asked == group).sum()))
            found = Reference.of(held[groups == group])
            smoothed = found.smoothed(judged[asked == group], 1 - drawn)
            assert smoothed == pytest.approx(reference[asked == group])


@given(LEVELS, st.integers(-1, 6).map(float), st.floats(0, 1), U)
def test_with_equal_weights_weighted_is_unweighted(
    scores: list[float], score: float, rate: float, u: float
) -> None:
    plain, weighted = Reference.of(scores), Weighted.of(scores, np.ones(len(scores)))
    assert weighted.p_value(score, u) == pytest.approx(float(plain.p_values(score, u)))
    assert weighted.rejects(score, rate, u) == bool(plain.rejects(score, rate, u))
    assert weighted.threshold(rate) == plain.threshold(rate)


def test_weights_written_out() -> None:
    found = Weighted.of([3.0, 1.0, 2.0], [0.5, 1.0, 0.25])  # 1, 0.25 and 0.5 by score, 2.75 in all
    assert [found.p_value(s, 0.0) for s in (0.0, 1.5, 2.5, 4.0)] == pytest.approx(
        [1.0, 1.75 / 2.75, 1.5 / 2.75, 1 / 2.75]
    )
    assert [found.threshold(a) for a in (0.3, 0.37, 0.55, 0.64, 1)] == [inf, 3, 2, 1, -inf]
    assert found.p_value(2.0, 0.75) == pytest.approx(1.5 / 2.75)
    assert [found.rejects(s, 0.4, 0.0) for s in (3.0, 3.1, nan)] == [False, True, True]


def uniform_p(rng: np.random.Generator, repeats: int, n: int) -> NDArray[np.float64]:
    """Of one new score after n others, each time anew."""
    drawn = rng.normal(size=(repeats, n + 1))
    ranks = (drawn[:, :-1] < drawn[:, -1:]).sum(axis=1)
    one = Reference.of(drawn[0, :-1])
    assert one.ranks(drawn[0, -1], 0.5) == ranks[0]
    return np.asarray((n + 1 - ranks) / (n + 1))


def test_p_values_are_super_uniform_and_uniform_once_smoothed() -> None:
    """2,000 draws after 100 scores: reference p of the Kolmogorov-Smirnov test .55."""
    rng = np.random.default_rng(0)
    p = uniform_p(rng, 2000, 100)
    grid = np.arange(1, 101) / 101
    below = (p[:, None] <= grid + 1e-12).mean(axis=0)
    assert np.all(below <= grid + 3 * np.sqrt(grid * (1 - grid) / 2000))
    smoothed = p - rng.random(2000) / 101
    assert stats.kstest(smoothed, "uniform").pvalue > 0.05
    shifted = np.clip(smoothed * 1.1, 0, 1)  # what the test must see
    assert stats.kstest(shifted, "uniform").pvalue < 1e-3


def rejections(
    rng: np.random.Generator, repeats: int, n: int, m: int, rate: float
) -> NDArray[np.int64]:
    """Counts of m that are rejected, with n others calibrating, each time anew."""
    held, judged = np.sort(rng.random((repeats, n)), axis=1), rng.random((repeats, m))
    found = (judged > held[:, [rank(n, rate) - 1]]).sum(axis=1)
    for row in range(20):
        assert found[row] == Reference.of(held[row]).rejects(judged[row], rate, 0.5).sum()
    return np.asarray(found)


def test_the_count_of_rejections_is_beta_binomial() -> None:
    """n = M = 500, a = .4, 4,000 repeats: mean .399 exactly, sd .0309 against .0219 of a binomial;
    a naive test at 5% raises 16.6% false alarms."""
    n = m = 500
    found = rejections(np.random.default_rng(0), 4000, n, m, 0.4)
    above = n + 1 - rank(n, 0.4)
    law = stats.betabinom(m, above, n + 1 - above)
    assert expected(n, 0.4) == above / (n + 1) == pytest.approx(0.39920, abs=1e-5)
    assert found.mean() / m == pytest.approx(0.3992, abs=0.0015)
    assert found.std() / m == pytest.approx(law.std() / m, rel=0.03)
    assert law.std() / m == pytest.approx(0.03093, abs=1e-5)
    low, high = law.ppf([0.025, 0.975])
    assert (low / m, high / m) == pytest.approx((0.340, 0.460), abs=0.002)
    assert np.mean((found >= low) & (found <= high)) == pytest.approx(0.95, abs=0.012)
    cuts = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))
    chances = np.diff(np.concatenate(([0], law.cdf(cuts), [1])))
    seen = np.bincount(np.searchsorted(cuts, found, "left"), minlength=len(chances))
    assert stats.chisquare(seen, 4000 * chances).pvalue > 0.01
    # negative control: a binomial is too narrow, since the calibration is random too
    counts, times = np.unique(found, return_counts=True)
    naive = np.array([stats.binomtest(count, m, 0.4).pvalue for count in counts.tolist()])
    assert times[naive < 0.05].sum() / 4000 == pytest.approx(0.166, abs=0.02)


def test_ties_have_to_be_broken_at_random() -> None:
    """Scores of 5 levels, a = .4: strict ">" .298, ">=" .498, at random .399."""
    rng, n = np.random.default_rng(0), 500
    strict, lax, broken = [], [], []
    for _ in range(400):
        held, judged = rng.integers(0, 5, n).astype(float), rng.integers(0, 5, n).astype(float)
        reference = Reference.of(held)
        threshold = reference.threshold(0.4)
        strict.append(np.mean(judged > threshold))
        lax.append(np.mean(judged >= threshold))
        broken.append(np.mean(reference.rejects(judged, 0.4, rng.random(n))))
    assert ceil((n + 1) * 0.6) == rank(n, 0.4)
    assert np.mean(broken) == pytest.approx(0.399, abs=0.005)
    assert np.mean(strict) == pytest.approx(0.298, abs=0.02)
    assert np.mean(lax) == pytest.approx(0.498, abs=0.02)
