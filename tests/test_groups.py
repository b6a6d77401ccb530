"""Questions that are variants of one problem count as one: every figure for questions like these
against one that is computed another way, and what must not change."""

from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from eval.comparison import difference_at_k, paired_difference
from eval.curves import curve
from eval.estimates import by_question, pass_at
from eval.folders import read_evaluations
from eval.intervals import bootstrap, bounded, paired, paired_bounded, standard_error, student
from eval.metrics import accuracy, measure
from eval.permutation import flipped, sign_flip
from eval.samples import Sample
from eval.score import Score
from eval.summary import summarise
from reason.errors import UsageError
from tests.console import reason
from tests.test_compare import NO_BUDGET, by_json, folder, refused
from tests.test_metrics import graded, sample

FIRST = graded("111", "110", "111", "100", "111", "011", "111", "110")
SECOND = graded("100", "110", "011", "101", "010", "001", "110", "000")
GROUPS = {"q0": "a", "q1": "a", "q2": "a", "q3": "b", "q4": "b", "q6": "c", "q7": "c"}
UNITS = [["q0", "q1", "q2"], ["q3", "q4"], ["q5"], ["q6", "q7"]]
LABELS = [0, 0, 0, 1, 1, 2, 3, 3]


def in_groups(rows: list[Sample], groups: dict[str, str] = GROUPS) -> list[Sample]:
    return [replace(row, group=groups.get(row.id, "")) for row in rows]


def doubled(rows: list[Sample]) -> list[Sample]:
    """Every question a second time under another name, as a variant of itself."""
    return [
        replace(row, id=f"{row.id}{name}", group=row.group or row.id)
        for row in rows
        for name in "xy"
    ]


def rates(rows: list[Sample]) -> np.ndarray:
    return np.array([np.mean([r.correct for r in of]) for of in by_question(rows).values()])


def sums(values: np.ndarray) -> list[float]:
    return [float(values[[int(name[1]) for name in of]].sum()) for of in UNITS]


def test_signs_are_flipped_group_by_group() -> None:
    d = rates(FIRST) - rates(SECOND)
    flips = [abs(float(np.dot(signs, sums(d)))) for signs in product((1, -1), repeat=4)]
    p = float(np.mean([flip >= abs(d.sum()) - 1e-9 for flip in flips]))
    three = np.full(8, 3)
    right, other = (np.rint(3 * rates(rows)).astype(int) for rows in (FIRST, SECOND))
    assert sign_flip(right, three, other, three, groups=LABELS) == pytest.approx(p)
    assert flipped(np.array(sums(d))) == pytest.approx(p)
    found = paired_difference(in_groups(FIRST), in_groups(SECOND))
    alone = paired_difference(FIRST, SECOND)
    assert found.p_value == pytest.approx(p) and found.p_value > alone.p_value
    assert (found.test, found.groups) == ("sign-flip permutation of groups", 4)
    assert (found.mean, found.this_set) == (alone.mean, alone.this_set), "the set is given"
    assert alone.groups is None


def test_single_samples_in_groups_are_no_longer_mcnemars_test() -> None:
    first, second = graded(*"11111110"), graded(*"00000101")
    found = paired_difference(in_groups(first), in_groups(second))
    flips = [abs(float(np.dot(signs, [3, 2, 0, 0]))) for signs in product((1, -1), repeat=4)]
    assert found.p_value == pytest.approx(np.mean([flip >= 5 for flip in flips]))
    assert found.test == "sign-flip permutation of groups"
    assert found.this_set == paired_difference(first, second).this_set
    assert found.this_set and found.this_set.test == "McNemar exact"


def test_the_standard_error_is_that_of_the_groups_sums() -> None:
    x = rates(FIRST)
    residuals = np.array(sums(x - x.mean()))
    expected = sqrt(float(residuals @ residuals) * 4 / 3) / 8
    assert standard_error(x, LABELS) == pytest.approx(expected)
    half = float(stats.t.ppf(0.975, 3)) * expected
    assert student(x, LABELS) == pytest.approx((x.mean() - half, x.mean() + half))
    assert standard_error(x) == pytest.approx(x.std(ddof=1) / sqrt(8))
    known = measure(in_groups(FIRST))
    assert known.uncertainty.standard_error == pytest.approx(expected)
    assert pass_at(by_question(in_groups(FIRST)), 1).standard_error == pytest.approx(expected)


def test_the_bootstrap_draws_groups() -> None:
    """Against all 4^4 draws of four groups, each with all of its questions."""
    x = rates(FIRST)
    sizes = [len(of) for of in UNITS]
    means = [
        sum(sums(x)[g] for g in drawn) / sum(sizes[g] for g in drawn)
        for drawn in product(range(4), repeat=4)
    ]
    found = bootstrap(x, groups=LABELS)
    exact = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
    assert found == pytest.approx(exact, abs=0.02)
    assert measure(in_groups(FIRST)).uncertainty.bootstrap == found


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_question_twice_in_its_group_narrows_nothing(repeats: int) -> None:
    """Negative control: the same evidence written down twice is the same evidence."""
    first, second = (
        [row for row in rows if row.repeat < repeats]
        for rows in (FIRST + _more(1), SECOND + _more(2))
    )
    alone, twice = (
        paired_difference(first, second),
        paired_difference(doubled(first), doubled(second)),
    )
    assert twice.mean == pytest.approx(alone.mean)
    assert twice.p_value == pytest.approx(alone.p_value)
    assert twice.high - twice.low >= 0.999 * (alone.high - alone.low)
    free = paired_difference(
        *([replace(row, group="") for row in doubled(rows)] for rows in (first, second))
    )
    assert free.high - free.low < 0.85 * (alone.high - alone.low), "what groups are for"
    one, two = measure(first), measure(doubled(first))
    assert two.accuracy.high - two.accuracy.low >= 0.95 * (one.accuracy.high - one.accuracy.low)
    se, se_twice = one.uncertainty.standard_error, two.uncertainty.standard_error
    assert se_twice == pytest.approx(se)
    for name, at in one.at_k.items():
        assert (two.at_k[name].low, two.at_k[name].high) == pytest.approx((at.low, at.high))
    if repeats > 1:
        score = Score("pass", 2)
        (found, x, _), (again, u, _) = (
            difference_at_k(a, b, score)
            for a, b in ((first, second), (doubled(first), doubled(second)))
        )
        assert u == pytest.approx(x)
        assert (again.low, again.high, again.p_value) == pytest.approx(
            (found.low, found.high, found.p_value)
        )
        assert again.test == "sign-flip permutation of groups"


def _more(seed: int) -> list[Sample]:
    rng, rates = np.random.default_rng(seed), np.random.default_rng(9).beta(0.5, 0.4, 20)
    return [sample(f"r{q}", r, bool(rng.random() < rates[q])) for q in range(20) for r in range(3)]


def test_groups_of_one_change_nothing() -> None:
    named = {f"q{n}": f"g{n}" for n in range(8)}
    assert paired_difference(in_groups(FIRST, named), SECOND) == paired_difference(FIRST, SECOND)
    assert measure(in_groups(FIRST, named)) == measure(FIRST)
    x, y, n = rates(FIRST), rates(SECOND), np.full(8, 3)
    each = list(range(8))
    assert paired(x, n, y, n, each) == pytest.approx(paired(x, n, y, n))
    one = np.ones(8, int)
    assert paired(x.round(), one, y.round(), one, each) == pytest.approx(
        paired(x.round(), one, y.round(), one)
    )
    assert paired_bounded(x, y, each) == pytest.approx(paired_bounded(x, y))
    assert bounded(x, each) == pytest.approx(bounded(x))


def test_a_single_group_tells_nothing_of_others() -> None:
    alike = dict.fromkeys([f"q{n}" for n in range(8)], "g")
    for repeats in (1, 3):
        sides = (
            in_groups([row for row in rows if row.repeat < repeats], alike)
            for rows in (FIRST, SECOND)
        )
        found = paired_difference(*sides)
        assert (found.low, found.high, found.p_value, found.groups) == (-1.0, 1.0, 1.0, 1)


@pytest.mark.parametrize("repeats, groups, size", [(1, 40, 4), (4, 20, 3)])
def test_intervals_and_tests_hold_where_variants_go_together(
    repeats: int, groups: int, size: int
) -> None:
    """No difference: the interval holds 0 in 95 of 100, and 5 of 100 tests are significant."""
    rng = np.random.default_rng(3)
    covered = significant = careless = 0
    n = np.full(groups * size, repeats)
    labels = np.repeat(np.arange(groups), size).tolist()
    for _ in range(500):
        one, two = (np.repeat(rng.beta(0.5, 0.5, groups), size) for _ in range(2))
        x, y = rng.binomial(repeats, one), rng.binomial(repeats, two)
        low, high = paired(x / repeats, n, y / repeats, n, labels)
        covered += low <= 0 <= high
        significant += sign_flip(x, n, y, n, groups=labels) <= 0.05
        careless += sign_flip(x, n, y, n) <= 0.05
    assert 0.92 <= covered / 500 <= 0.99
    assert 0.02 <= significant / 500 <= 0.075
    assert careless / 500 > 0.12


def test_a_side_that_knows_the_groups_is_enough_and_two_must_agree() -> None:
    both = paired_difference(in_groups(FIRST), in_groups(SECOND))
    assert paired_difference(in_groups(FIRST), SECOND) == both
    assert paired_difference(FIRST, in_groups(SECOND)) == both
    other = in_groups(SECOND, GROUPS | {"q4": "c"})
    with pytest.raises(UsageError) as error:
        paired_difference(in_groups(FIRST), other)
    assert str(error.value) == (
        "question 'q4' is of group 'b' in one sample and of 'c' in another: evaluate with the same "
        "column group, or without one"
    )


def test_a_comparison_says_that_groups_count_as_one(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", in_groups(FIRST), "x")
    b = folder(tmp_path / "b", in_groups(SECOND), "y")
    (found,) = by_json(str(a), str(b), *NO_BUDGET)
    assert (found["questions"], found["groups"]) == (8, 4)
    assert found["comparisons"][0]["like_these"]["test"] == "sign-flip permutation of groups"
    assert found["remarks"] == [
        "variants of one problem count as one for questions like these: 8 questions in 4 groups"
    ]
    shown = reason("compare", str(a), str(b), *NO_BUDGET).stdout
    assert "8 questions in 4 groups, 3 samples of each by A and 3 by B" in shown
    (at_two,) = by_json(str(a), str(b), "score=pass@2", *NO_BUDGET)
    assert at_two["groups"] == 4
    c = folder(tmp_path / "c", in_groups(SECOND, GROUPS | {"q4": "c"}), "z")
    assert refused(str(a), str(c)).startswith("question 'q4' is of group 'b' in one sample")


def test_a_report_says_so_and_its_intervals_are_those_of_the_metrics(tmp_path: Path) -> None:
    rows = [replace(row, critical_path=10 + len(row.id + row.group)) for row in in_groups(FIRST)]
    a = folder(tmp_path / "a", rows, "x")
    (group,) = summarise(read_evaluations([a]))
    (summary,) = group.summaries
    known = accuracy(rows)
    assert (summary.accuracy.low, summary.accuracy.high) == (known.low, known.high)
    costs = np.array([rows[3 * q].critical_path for q in range(8)], float)
    low, high = student(costs, LABELS)
    cost = summary.costs["critical_path"]
    assert (cost.low, cost.high) == pytest.approx((max(low, 0.0), high))
    said = "variants of one problem count as one: 8 questions in 4 groups"
    assert group.remarks[-1] == said
    drawn = curve("x", rows, [row.critical_path for row in rows], [1e9])
    assert (drawn.low[0], drawn.high[0]) == pytest.approx((known.low, known.high))
    result = reason("report", str(a), "--out", str(tmp_path / "out"))
    assert "8 questions in 4 groups" in " ".join(result.stdout.split())
