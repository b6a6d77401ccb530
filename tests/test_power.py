"""Power, against simulated evaluations put through the very tests that it foretells."""

import re
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import Cell, two_rates
from eval.permutation import mcnemar, relabelled, sign_flip
from eval.power import (
    POWER,
    Design,
    Which,
    detectable,
    power,
    power_of,
    questions_needed,
    repeats_needed,
)
from reason.errors import UsageError

CELLS = [
    Cell(30, 1, 0.5, 0.6, 0.3),
    Cell(500, 1, 0.5, 0.6, 0.05),
    Cell(30, 4, 0.5, 0.6, 0.1),
    Cell(30, 16, 0.5, 0.6, 0.05),
    Cell(30, 16, 0.5, 0.3, 0.1),
    Cell(200, 4, 0.8, 0.6, 0.05),
]


def found(cell: Cell, which: Which, evaluations: int = 400) -> tuple[float, float]:
    """Share of simulated comparisons with p < .05, and how the solve rates correlated.

    For this set only sets are drawn on which the difference is the one looked for.
    """
    rng, gap = np.random.default_rng(1), cell.gap or 0.0
    n, hits, correlations = np.full(cell.questions, cell.repeats), 0, []
    while len(correlations) < evaluations:
        one, two = two_rates(cell, rng)
        if which == "this_set" and abs(float((two - one).mean()) - gap) > gap / 20:
            continue
        x, y = rng.binomial(cell.repeats, one), rng.binomial(cell.repeats, two)
        if cell.repeats == 1:
            p = mcnemar(int((y > x).sum()), int((y < x).sum()))
        else:
            p = sign_flip(y, n, x, n) if which == "like_these" else relabelled(y, n, x, n)
        hits += p < 0.05
        correlations.append(np.corrcoef(one, two)[0, 1])
    return hits / evaluations, float(np.mean(correlations))


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("which", ["like_these", "this_set"])
def test_power_is_how_often_the_tests_find_the_difference(cell: Cell, which: Which) -> None:
    share, correlation = found(cell, which)
    design = Design(cell.questions, cell.accuracy, cell.icc, correlation)
    foretold = power_of(design, cell.gap or 0.0, cell.repeats, which)
    careful = 0.12 if cell.repeats == 1 and which == "this_set" else 0.06
    assert share - careful <= foretold <= share + 0.06


def test_power_for_questions_like_these_is_that_of_a_paired_t_test() -> None:
    """Many questions with many samples: the textbook's power of a t-test, half a step aside."""
    design = Design(200, 0.5, 0.6, 0.9)
    between, within = design.variances(0.05)
    assert between == pytest.approx(0.6 * (0.25 + 0.2475 - 1.8 * (0.25 * 0.2475) ** 0.5))
    assert within == pytest.approx(0.4 * (0.25 + 0.2475))
    sd = (between + within / 64) ** 0.5
    centre = (0.05 - 1 / (64 * 200)) / sd * 200**0.5
    textbook = stats.nct.sf(stats.t.ppf(0.975, 199), 199, centre)
    assert power(0.05, between, within, 200, 64, "like_these") == pytest.approx(textbook)


def test_one_aime_shows_what_the_conventions_of_the_field_say() -> None:
    """30 questions, 64 samples each: 8 to 10 points for questions like these, 3 for this set."""
    like = detectable(Design(30), 64, "like_these")
    this = detectable(Design(30), 64, "this_set")
    assert like and this
    assert 0.08 <= like <= 0.105 and 0.025 <= this <= 0.035


@pytest.mark.parametrize("which", ["like_these", "this_set"])
def test_the_detectable_difference_is_found_with_the_power_that_is_asked_for(which: Which) -> None:
    design = Design(60, 0.4, 0.5, 0.8)
    smallest = detectable(design, 8, which)
    assert smallest
    assert power_of(design, smallest, 8, which) == pytest.approx(POWER, abs=1e-4)
    fewest = repeats_needed(design, smallest * 1.0001, which)
    assert fewest == 8
    assert questions_needed(design, smallest * 1.0001, 8, which) == 60


def test_repeats_help_this_set_and_hardly_questions_like_these() -> None:
    design = Design(30)
    this = [detectable(design, n, "this_set") or 1 for n in (4, 16, 64, 256)]
    like = [detectable(design, n, "like_these") or 1 for n in (4, 16, 64, 256)]
    assert all(a > 1.8 * b for a, b in pairwise(this))
    assert like == sorted(like, reverse=True) and like[-1] > 0.8 * like[1]
    assert repeats_needed(design, 0.05, "like_these") is None
    assert repeats_needed(design, 0.05, "this_set")
    assert questions_needed(design, 0.05, 16, "like_these")


def test_where_nothing_can_be_seen() -> None:
    assert detectable(Design(2, 0.5), 1, "like_these") is None
    assert power(0.0, 0.0, 0.0, 30, 4, "like_these") == 0.0
    assert power(0.5, 0.0, 0.0, 30, 4, "like_these") == 1.0  # without any variance
    assert power(0.5, 0.0, 0.0, 30, 4, "this_set") == 1.0
    assert power(0.001, 0.1, 0.1, 30, 4, "this_set") < 0.05


def test_what_cannot_be_assumed() -> None:
    for wrong, said in (
        ({"questions": 1}, "questions must be 2 or more, got 1"),
        ({"accuracy": 0.0}, "accuracy must be a share between 0 and 1, such as 0.5, got 0.0"),
        ({"accuracy": 60.0}, "accuracy must be a share between 0 and 1, such as 0.5, got 60.0"),
        ({"icc": 1.5}, "icc must be 0 to 1, got 1.5"),
        ({"correlation": -0.1}, "correlation must be 0 to 1, got -0.1"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            Design(**{"questions": 30, **wrong})  # type: ignore[arg-type]
    design = Design(30, 0.9)
    with pytest.raises(UsageError, match="repeats must be 1 or more, got 0"):
        detectable(design, 0, "this_set")
    for difference in (0.0, -0.1, 0.2):
        with pytest.raises(UsageError) as error:
            repeats_needed(design, difference, "this_set")
        assert str(error.value) == (
            "difference must be above 0, and at most 0.1 where the accuracy is 0.9, "
            f"got {difference:g}"
        )
