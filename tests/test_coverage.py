"""95% intervals hold the truth in 95% of simulated evaluations."""

import numpy as np
import pytest

from benchmarks.coverage import Cell, cells, coverage, holds, paired_coverage, pairs, two_rates
from eval.estimates import pass_at_k
from eval.intervals import paired_bounded

SOAK = pytest.mark.soak
SHORT = [
    Cell(30, 1, 0.5, 0.0),
    Cell(30, 4, 0.1, 0.3),
    Cell(30, 4, 0.95, 0.6),
    Cell(30, 16, 0.5, 0.6),
    Cell(30, 16, 0.95, 0.3),
    Cell(500, 4, 0.95, 0.3),
    Cell(500, 16, 0.1, 0.6),
]
SHORT_PAIRS = [
    Cell(30, 1, 0.5, 0.6, 0.1),
    Cell(30, 16, 0.5, 0.3, 0.0),
    Cell(30, 4, 0.95, 0.3, 0.03),
]


def band(cell: Cell) -> tuple[float, float]:
    """What 2,000 evaluations may show: 93.5 to 96.5%, with exceptions upwards only.

    With 30 questions and few right or few wrong samples no interval is exact: where all samples may
    come out right, nothing can be excluded on that side, and its 2.5% are left over. Where 30
    questions are nearly all or nothing, hardly any has a variance of its own. 0.5% are the luck of
    one cell in a hundred.
    """
    if cell.questions > 30:
        return 0.935, 0.97
    return 0.935, 0.98 if cell.accuracy == 0.5 else 1.0


@pytest.mark.parametrize("cell", SHORT, ids=str)
def test_intervals_of_the_accuracy(cell: Cell) -> None:
    check(coverage(cell, 400), cell, 0.03)


@pytest.mark.parametrize("cell", SHORT_PAIRS, ids=str)
def test_intervals_of_the_difference(cell: Cell) -> None:
    check(paired_coverage(cell, 400), cell, 0.03)


@SOAK
@pytest.mark.parametrize("cell", cells(), ids=str)
def test_intervals_of_the_accuracy_at_length(cell: Cell) -> None:
    check(coverage(cell, 2000), cell, 0.0)


@SOAK
@pytest.mark.parametrize("cell", pairs(), ids=str)
def test_intervals_of_the_difference_at_length(cell: Cell) -> None:
    check(paired_coverage(cell, 2000), cell, 0.0)


def check(found: dict[str, float], cell: Cell, slack: float) -> None:
    """Both readings are within the band; this set needs two samples a question."""
    low, high = band(cell)
    assert low - slack <= found["like these"] <= high + slack
    if cell.repeats > 1:
        assert low - slack <= found["this set"] <= high + slack


def test_students_t_alone_would_not_do() -> None:
    assert coverage(Cell(30, 16, 0.95, 0.6), 400)["t"] < 0.88


def test_intervals_of_a_difference_at_k() -> None:
    """pass@4 of 8 samples at 30 questions, the second method better by 10 points at k = 1."""
    rng, cell, hits = np.random.default_rng(1), Cell(30, 8, 0.4, 0.5, 0.1), 0
    drawn = [two_rates(cell, rng) for _ in range(2000)]
    truth = float(np.mean([(1 - (1 - b) ** 4) - (1 - (1 - a) ** 4) for a, b in drawn]))
    for rates in drawn[:400]:
        x, y = (np.array([pass_at_k(8, c, 4) for c in rng.binomial(8, of)]) for of in rates)
        hits += holds(paired_bounded(y, x), truth)
    assert 0.92 <= hits / 400 <= 0.98
