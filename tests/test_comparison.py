"""Two methods on the same questions: each figure against one that is computed another way."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from eval.comparison import Difference, Reading, paired_difference
from eval.intervals import like_these, mover, this_set
from eval.metrics import accuracy
from eval.permutation import mcnemar, relabelled, sign_flip
from reason.errors import UsageError
from tests.test_metrics import graded, sample


def test_every_figure_of_a_comparison() -> None:
    first = graded("111", "110", "111", "100", "111", "011", "111", "010")
    second = graded("100", "110", "011", "100", "010", "001", "111", "000")
    right, other = np.array([3, 2, 3, 1, 3, 2, 3, 1]), np.array([1, 2, 2, 1, 1, 1, 3, 0])
    x, y, three = right / 3, other / 3, np.full(8, 3)
    one, two = this_set(x, three), this_set(y, three)
    assert one and two
    low, high = mover(
        x.mean(), like_these(x, three), y.mean(), like_these(y, three), np.corrcoef(x, y)[0, 1]
    )
    set_low, set_high = mover(x.mean(), one, y.mean(), two)
    assert paired_difference(first, second) == Difference(
        questions=8,
        mean=pytest.approx(7 / 24),
        low=pytest.approx(low),
        high=pytest.approx(high),
        p_value=sign_flip(right, three, other, three),
        test="sign-flip permutation",
        this_set=Reading(
            pytest.approx(set_low),
            pytest.approx(set_high),
            relabelled(right, three, other, three),
            "permutation within questions",
        ),
    )


def test_the_other_way_round_everything_is_mirrored() -> None:
    sides = graded("111", "110", "111", "100", "001"), graded("10", "11", "01", "10", "00")
    found, mirrored = paired_difference(*sides), paired_difference(*reversed(sides))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert mirrored.mean == pytest.approx(-found.mean)
    assert mirrored.p_value == pytest.approx(found.p_value)
    assert mirrored.this_set.p_value == pytest.approx(found.this_set.p_value)


@pytest.mark.parametrize("won, lost, same", [(7, 1, 5), (3, 3, 0), (0, 4, 9), (0, 0, 6)])
def test_single_samples_are_mcnemars_test_and_agresti_and_mins_interval(
    won: int, lost: int, same: int
) -> None:
    first = graded(*"1" * won, *"0" * lost, *"1" * same)
    second = graded(*"0" * won, *"1" * lost, *"1" * same)
    found = paired_difference(first, second)
    assert found.mean == pytest.approx((won - lost) / (won + lost + same))
    assert found.p_value == found.this_set.p_value == mcnemar(won, lost)
    assert found.test == found.this_set.test == "McNemar exact"
    assert found.this_set.low is None and found.this_set.high is None
    # a half more in each of the four cells of the table, with Student's t for the normal
    b, c, size = won + 0.5, lost + 0.5, won + lost + same + 2
    middle = (b - c) / size
    half = stats.t.ppf(0.975, size - 3) * sqrt((b + c - (b - c) ** 2 / size) / (size * (size - 1)))
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))


def test_pairing_finds_what_two_intervals_side_by_side_would_not() -> None:
    first = graded(*"1" * 30, *"1" * 8, *"0" * 22)
    second = graded(*"1" * 30, *"0" * 8, *"0" * 22)
    assert accuracy(second).high > accuracy(first).low
    found = paired_difference(first, second)
    assert found.p_value == pytest.approx(2 / 2**8) and found.low > 0


def test_within_a_budget_what_costs_more_is_wrong() -> None:
    first = [sample(q, r, True, critical_path=cost) for q in "ab" for r, cost in enumerate((5, 9))]
    second = [sample(q, r, True, critical_path=7) for q in "ab" for r in range(2)]
    means = {
        budget: paired_difference(first, second, figure="critical_path", budget=budget).mean
        for budget in (4, 5, 7, 8, 9, inf)
    }
    assert means == {4: 0, 5: 0.5, 7: -0.5, 8: -0.5, 9: 0, inf: 0}


def test_a_comparison_needs_the_same_questions() -> None:
    with pytest.raises(UsageError) as error:
        paired_difference(graded(*"11000"), graded("1"))
    assert str(error.value) == (
        "a paired comparison needs the same questions on both sides, and 1 are shared: only the "
        "first holds 'q1', 'q2', 'q3' and 1 more"
    )
    with pytest.raises(UsageError) as error:
        paired_difference([sample("a"), sample("b")], [sample("b"), sample("c")])
    assert str(error.value).endswith("only the first holds 'a'; only the second holds 'c'")
    with pytest.raises(UsageError) as error:
        paired_difference(graded("1"), graded("0"))
    assert str(error.value) == "a paired comparison needs at least two questions, got 1"
