"""Several comparisons at once, against the closed testing that Holm's procedure is short for."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.comparison import holm


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
