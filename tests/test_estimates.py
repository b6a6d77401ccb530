"""pass@k, maj@k and the split of the variance, against counting every choice of k samples."""

from collections import Counter
from itertools import combinations
from math import comb, sqrt
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.estimates import (
    AtK,
    avg_at_k,
    by_question,
    components,
    maj_at,
    pass_at,
    pass_at_k,
)
from eval.intervals import bounded
from eval.votes import Votes, maj_at_k, votes_of
from reason.errors import UsageError
from tests.test_metrics import graded, sample

VOTES = st.builds(
    lambda answers, blanks: Votes(
        tuple(count for count, _ in answers), tuple(float(right) for _, right in answers), blanks
    ),
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=4),
    st.integers(0, 2),
).filter(lambda votes: 1 <= votes.samples <= 10)


@given(st.integers(1, 10), st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    choices = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(fmean(map(any, choices)))


@given(st.integers(1, 3000), st.data())
def test_pass_at_k_is_the_quotient_of_binomials(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - comb(n - c, k) / comb(n, k)
    assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-11)
    assert avg_at_k(n, c) == pytest.approx(c / n)


def shared(votes: Votes, chosen: tuple[int | None, ...]) -> float:
    """What a vote is worth: its tied winners share it."""
    counts = Counter(answer for answer in chosen if answer is not None)
    winners = [a for a in counts if counts[a] == max(counts.values())]
    return fmean(votes.right[a] for a in winners) if winners else 0.0


@settings(deadline=None)
@given(VOTES, st.data())
def test_maj_at_k_is_the_mean_over_all_choices(votes: Votes, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, votes.samples))
    pool = [a for a, count in enumerate(votes.counts) for _ in range(count)]
    choices = combinations([*pool, *[None] * votes.blanks], k)
    expected = fmean(shared(votes, chosen) for chosen in choices)
    found = maj_at_k(votes, k)
    assert found.value == pytest.approx(expected) and found.error == 0.0


def test_sharing_a_tie_is_what_first_seen_wins_gives_on_average() -> None:
    votes = Votes((3, 3, 2, 1), (0.0, 1.0, 0.0, 0.0), 1)
    pool = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, -1])
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(20_000):
        drawn = [int(answer) for answer in rng.permutation(pool)[:5] if answer >= 0]
        wins += Counter(drawn).most_common(1)[0][0] == 1  # of equals the first seen
    assert maj_at_k(votes, 5).value == pytest.approx(wins / 20_000, abs=0.012)


def test_a_vote_too_large_to_count_is_drawn_with_its_standard_error() -> None:
    votes = Votes((1000, 950, 60), (1.0, 0.0, 0.0), 90)
    exact = maj_at_k(votes, 150)
    many = Votes(tuple(c * 10 for c in votes.counts), votes.right, 900)
    drawn = maj_at_k(many, 150)
    assert exact.error == 0.0 and 0 < drawn.error < 0.004
    assert drawn.value == pytest.approx(exact.value, abs=0.02)
    assert drawn == maj_at_k(many, 150) != maj_at_k(many, 150, seed=1)


def test_answers_vote_as_the_methods_compare_them() -> None:
    rows = [sample("a", r, c, answer=a) for r, (a, c) in enumerate(
        [("7", True), (" 7.0 ", True), ("8", False), (None, False), ("$8$", False)]
    )]  # fmt: skip
    assert votes_of(rows) == Votes((2, 2), (1.0, 0.0), 1)


def test_figures_at_k_over_questions() -> None:
    questions = by_question(graded("1100", "1110", "0000"))
    values = [pass_at_k(4, c, 2) for c in (2, 3, 0)]
    assert pass_at(questions, 2) == AtK(
        pytest.approx(fmean(values)),
        *map(pytest.approx, bounded(values)),
        pytest.approx(stdev(values) / sqrt(3)),
    )
    assert pass_at(questions, 1).value == pytest.approx(5 / 12)
    # right and wrong samples give the same text here, so that each vote is worth its share
    assert maj_at(questions, 4).value == pytest.approx(5 / 12)
    assert pass_at(by_question(graded("10")), 1).standard_error is None


@pytest.mark.parametrize("k", [0, 4, 5])
def test_k_beyond_the_samples_is_refused(k: int) -> None:
    questions = by_question(graded("1101", "110"))
    for figure in (pass_at, maj_at):
        with pytest.raises(UsageError) as error:
            figure(questions, k)
        assert str(error.value) == f"k must be 1 to 3, the samples of question 'q1', got {k}"
    with pytest.raises(UsageError) as error:
        pass_at_k(3, 1, k)
    assert str(error.value) == f"k must be 1 to 3, the samples of a question, got {k}"
    with pytest.raises(UsageError, match="of 3 samples 0 to 3 can be right, got 4"):
        pass_at_k(3, 4, 1)
    with pytest.raises(UsageError, match="there is no question to estimate from"):
        pass_at({}, 1)


def test_the_split_of_the_variance_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    n = np.array([3, 8] * 20)
    found = []
    for _ in range(1500):
        rates = rng.beta(1.0, 0.6, 40)
        found.append(components(rng.binomial(n, rates) / n, n))
    between, within = (1.0 * 0.6) / (1.6**2 * 2.6), (1.0 * 0.6) / (1.6 * 2.6)
    kept = [one for one in found if one]
    assert fmean(one.between for one in kept) == pytest.approx(between, abs=0.003)
    assert fmean(one.within for one in kept) == pytest.approx(within, abs=0.002)
    assert fmean(one.icc for one in kept) == pytest.approx(between / (between + within), abs=0.02)


def test_the_split_needs_repeats_and_questions() -> None:
    assert components([1.0, 0.0], [2, 1]) is None and components([0.5], [4]) is None
    none = components([0.5, 0.5], [4, 4])
    assert none and (none.between, none.within, none.icc) == (0.0, pytest.approx(1 / 3), 0.0)
    certain = components([1.0, 1.0], [4, 4])
    assert certain and certain.icc == 0.0
