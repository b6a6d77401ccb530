"""Scores of a chunk, each written out, and what they are of nothing."""

from math import exp, inf, isnan, log, nan

import pytest

from calibration.scores import SCORES, TAIL, Chunk, score_named
from reason.errors import UsageError

CHUNK = Chunk(
    logprobs=[log(0.5), log(0.25), log(0.5)],
    others=[log(0.25), log(0.5), log(0.125)],
    answer="7",
    answers=["7", "8", None, "7", "7"],
)


def test_scores_written_out_and_higher_is_less_reliable() -> None:
    assert {name: score(CHUNK) for name, score in SCORES.items()} == pytest.approx(
        {
            "perplexity": 2 ** (4 / 3),
            "likelihood": log(2) * 4 / 3,
            "tail_confidence": log(2) * 4 / 3,
            "margin": -log(2) * 2 / 3,
            "vote_share": -3 / 4,
        }
    )
    surer = Chunk([-0.1] * 3, [-4.0] * 3, "7", ["7"] * 3)
    for name, score in SCORES.items():
        assert score(surer) < score(CHUNK), name


def test_the_tail_is_the_last_tokens() -> None:
    chunk = Chunk([-9.0] * 100 + [-0.5] * TAIL)
    assert SCORES["tail_confidence"](chunk) == 0.5 < SCORES["likelihood"](chunk)


def test_of_nothing_there_is_no_score() -> None:
    assert all(isnan(score(Chunk())) for score in SCORES.values())
    assert isnan(SCORES["vote_share"](Chunk([-1.0], answer=None, answers=["1"])))
    assert isnan(SCORES["vote_share"](Chunk([-1.0], answer="1", answers=[None])))
    assert isnan(SCORES["perplexity"](Chunk([-1.0, nan])))


def test_what_the_target_gives_no_chance_is_infinitely_surprising() -> None:
    for name in ("perplexity", "likelihood", "tail_confidence"):
        assert SCORES[name](Chunk([-1.0, -inf])) == inf
    assert SCORES["perplexity"](Chunk([-1e4])) == inf  # beyond what a float holds
    assert SCORES["perplexity"](Chunk([-700.0])) == exp(700)


def test_losses_are_not_log_probabilities() -> None:
    with pytest.raises(UsageError, match=r"logprobs hold 2\.5, .* negate them if they are losses"):
        Chunk([-0.1, 2.5])
    with pytest.raises(UsageError, match="2 logprobs have 1 others: give one for each"):
        Chunk([-0.1, -0.2], [-3.0])
    assert SCORES["likelihood"](Chunk([0.001])) == -0.001  # rounding of half precision


def test_an_unknown_score_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no score is called 'ppl'; there is: perplexity, lik"):
        score_named("ppl")
    assert score_named("margin") is SCORES["margin"]
