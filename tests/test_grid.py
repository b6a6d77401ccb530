"""The cells of a sweep are all combinations, each once."""

import tomllib
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grid import cells
from reason.errors import UsageError

SWEEP = """
task = "countdown4"
sampling.max_tokens = 512

[[method]]
controller = "apr"
width = [0, 8]

[[method]]
controller = ["single", "self_consistency"]
budget.threads = 9

[grid]
budget.total_tokens = [256, 512]
sampling.stop = [["a", "b"]]
"""


def test_every_combination_is_a_cell() -> None:
    found = {cell.name: cell.tables for cell in cells(tomllib.loads(SWEEP))}
    names = [
        "apr,width=0,budget.total_tokens=256",
        "apr,width=8,budget.total_tokens=256",
        "apr,width=0,budget.total_tokens=512",
        "apr,width=8,budget.total_tokens=512",
        "single,budget.threads=9,budget.total_tokens=256",
        "self_consistency,budget.threads=9,budget.total_tokens=256",
        "single,budget.threads=9,budget.total_tokens=512",
        "self_consistency,budget.threads=9,budget.total_tokens=512",
    ]
    assert list(found) == names
    assert found[names[1]] == {
        "task": "countdown4",
        "sampling": {"max_tokens": 512, "stop": ["a", "b"]},
        "budget": {"total_tokens": 256},
        "controller": "apr",
        "width": 8,
    }
    assert found[names[7]]["budget"] == {"total_tokens": 512, "threads": 9}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_as_many_cells_as_the_product_of_the_lists(sizes: list[int]) -> None:
    grid = {f"k{i}": list(range(size)) for i, size in enumerate(sizes)}
    found = cells({"controller": "single", "grid": grid})
    assert [tuple(c.tables[k] for k in grid) for c in found] == list(
        product(*(range(size) for size in sizes))
    )
    assert len({c.name for c in found}) == len(found)


def test_what_is_no_sweep_is_refused() -> None:
    for config, message in [
        ({"task": "countdown4"}, "no controller"),
        ({"controller": "apr", "grid": {"width": []}}, "width has no values"),
        ({"controller": "apr", "grid": {"width": [1, 1]}}, "two cells .*width=1"),
        ({"method": {"controller": "apr"}}, r"\[\[method\]\]"),
        ({"method": [{"controller": "apr"}], "grid": 3}, "table of lists"),
    ]:
        with pytest.raises(UsageError, match=message):
            cells(config)
