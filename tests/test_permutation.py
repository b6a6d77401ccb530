"""The tests of no difference, against every arrangement counted one by one and against scipy."""

from itertools import combinations, product
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval.permutation import flipped, holm, mcnemar, relabelled, sign_flip

SIDES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=7)


def columns(sides: list[tuple[int, int]]) -> tuple[np.ndarray, ...]:
    """Right samples of three on the one side, of two on the other."""
    first, second = (np.array(side) for side in zip(*sides, strict=True))
    return first, np.full(len(sides), 3), second, np.full(len(sides), 2)


@settings(deadline=None)
@given(SIDES)
def test_sign_flips_are_all_flips_of_signs(sides: list[tuple[int, int]]) -> None:
    differences = [a / 3 - b / 2 for a, b in sides]
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(sides))
    ]
    expected = sum(total >= abs(sum(differences)) - 1e-9 for total in flips) / len(flips)
    assert sign_flip(*columns(sides)) == pytest.approx(expected)


@settings(deadline=None)
@given(SIDES.filter(lambda sides: len(sides) <= 4))
def test_relabelling_is_every_way_to_give_the_samples_to_the_methods(
    sides: list[tuple[int, int]],
) -> None:
    pools = [[1] * (a + b) + [0] * (5 - a - b) for a, b in sides]
    ways = [
        [
            sum(pool[i] for i in taken) / 3 - sum(pool[i] for i in set(range(5)) - set(taken)) / 2
            for taken in combinations(range(5), 3)
        ]
        for pool in pools
    ]
    seen = abs(sum(a / 3 - b / 2 for a, b in sides))
    totals = [abs(sum(way)) >= seen - 1e-9 for way in product(*ways)]
    assert relabelled(*columns(sides)) == pytest.approx(sum(totals) / comb(5, 3) ** len(sides))


def test_questions_with_different_numbers_of_samples() -> None:
    first, n = np.array([3, 1, 4, 0]), np.array([4, 2, 5, 1])
    second, m = np.array([0, 1, 2, 0]), np.array([1, 3, 5, 2])
    difference = first / n - second / m
    reference = stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(first, n, second, m) == pytest.approx(reference.pvalue)
    rng = np.random.default_rng(0)
    won = rng.hypergeometric(first + second, n + m - first - second, n, size=(100_000, 4))
    drawn = (won / n - (first + second - won) / m).sum(axis=1)
    expected = (np.abs(drawn) >= abs(difference.sum()) - 1e-9).mean()
    assert relabelled(first, n, second, m) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("won, lost", [(7, 1), (3, 3), (0, 4), (0, 0), (40, 20)])
def test_with_single_samples_all_three_are_the_sign_test(won: int, lost: int) -> None:
    first = np.array([1] * won + [0] * lost + [1, 0])
    second = np.array([0] * won + [1] * lost + [1, 0])
    one = np.ones(len(first), np.int64)
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected)
    assert sign_flip(first, one, second, one) == pytest.approx(expected)
    assert relabelled(first, one, second, one) == pytest.approx(expected)


def test_what_is_too_fine_to_count_is_drawn_or_normal() -> None:
    rng = np.random.default_rng(3)
    n, m = np.full(6000, 16), np.full(6000, 15)
    first, second = rng.binomial(n, 0.5), rng.binomial(m, 0.495)
    differences = first / n - second / m
    normal = 2 * stats.norm.sf(abs(differences.sum()) / sqrt((differences**2).sum()))
    assert 0.01 < normal < 0.9
    assert sign_flip(first, n, second, m) == pytest.approx(normal, abs=0.02)
    assert sign_flip(first, n, second, m) == sign_flip(first, n, second, m)
    assert relabelled(first, n, second, m) == pytest.approx(normal, abs=0.02)


@pytest.mark.parametrize("test", [sign_flip, relabelled])
def test_under_no_difference_five_in_a_hundred_are_significant(test: object) -> None:
    rng = np.random.default_rng(1)
    assert callable(test)
    n = np.full(30, 8)
    found = 0
    for _ in range(1000):
        rates = rng.beta(0.4, 0.4, 30)
        found += test(rng.binomial(n, rates), n, rng.binomial(n, rates), n) <= 0.05
    assert 0.03 <= found / 1000 <= 0.067


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p_values: list[float]) -> None:
    named = {str(index): p for index, p in enumerate(p_values)}
    adjusted = holm(named)
    assert adjusted.keys() == named.keys()
    for name in named:
        subsets = (
            subset
            for size in range(1, len(named) + 1)
            for subset in combinations(named, size)
            if name in subset
        )
        expected = max(min(1.0, len(s) * min(named[other] for other in s)) for s in subsets)
        assert adjusted[name] == pytest.approx(expected)


def test_one_comparison_needs_no_correction() -> None:
    assert holm({"a": 0.03}) == {"a": 0.03} and holm({}) == {}


@given(st.lists(st.sampled_from([0.0, 0.1, -0.1, 1 / 3, -0.7, 0.25]), min_size=1, max_size=9))
def test_flips_of_any_differences_are_all_of_them(differences: list[float]) -> None:
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = np.mean([found >= abs(sum(differences)) - 1e-9 for found in sums])
    assert flipped(np.array(differences)) == pytest.approx(expected)


def test_flips_of_many_differences_are_drawn() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 60)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert flipped(differences) == pytest.approx(expected, abs=0.02)
    assert flipped(differences) == flipped(differences) != flipped(differences, seed=1)
