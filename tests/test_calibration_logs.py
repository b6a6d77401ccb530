"""The published logs of ATTS: 100 questions of MATH x 16 chains, 6,065 decisions.

Perplexities of DeepSeek-R1-Distill-Llama-8B under QwQ-32B, and what was decided about them.
"""

import json
from functools import cache

import numpy as np
import pytest

from calibration.audit import Decision, audit
from calibration.conformal import tie_break
from calibration.judging import Judge
from calibration.modes import ByTurn, Pooled
from calibration.online import Adaptive, AdaptiveByTurn
from calibration.paper import Paper
from calibration.sample import Sample
from tests.data import needs_data, path, rows

pytestmark = needs_data
SPANS = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 6), (7, 9), (10, 14)]


@cache
def calibration() -> Sample:
    scores = json.loads(path("atts/calibration_ppl_math100x16.json").read_text(encoding="utf-8"))
    return Sample.of(scores, [i // 16 for i in range(len(scores))])


@cache
def logged() -> list[tuple[int, int, float, float, bool]]:
    """Chain, turn, perplexity, percentile, whether it was kept."""
    return [
        (row["trajectory"], *turn) for row in rows("atts/decisions.jsonl") for turn in row["turns"]
    ]


def replayed(judge: Judge) -> list[Decision]:
    """The decisions of a judge about the perplexities in the logs; other decisions would have
    changed what was written after them, so that this is no run."""
    found = []
    for chain, turn, score, _, _ in logged():
        question, u = str(chain // 16), tie_break(0, chain, turn)
        told = judge.judge(score, turn=turn, length=0, question=question, u=u)
        found.append(Decision(question, turn, score, told.p, told.rejected))
    return found


def by_span(decisions: list[Decision]) -> list[float]:
    spans = [[d.rejected for d in decisions if a <= d.turn <= b] for a, b in SPANS]
    return [float(np.mean(span)) for span in spans]


def test_paper_reproduces_every_recorded_percentile_and_decision() -> None:
    judge = Paper().fit(calibration()).start()
    told = [
        judge.judge(score, turn=turn, length=0, question=str(chain // 16), u=0.0)
        for chain, turn, score, _, _ in logged()
    ]
    assert len(told) == 6065
    assert [t.percentile for t in told] == [percentile for *_, percentile, _ in logged()]
    assert [t.rejected for t in told] == [not kept for *_, kept in logged()]
    assert sum(t.rejected for t in told) == 2507
    # negative control: with one decision more below, hundreds of percentiles are others
    other = Paper().fit(calibration().where(np.arange(1600) > 0)).start()
    again = [other.judge(s, turn=t, length=0, question="", u=0.0) for _, t, s, _, _ in logged()]
    assert sum(a.percentile == t.percentile for a, t in zip(again, told, strict=True)) < 1000


def test_the_audit_finds_what_a_threshold_of_the_first_turn_does_to_later_ones() -> None:
    found = audit(replayed(Paper().fit(calibration()).start()), 0.4, calibration())
    shares = {turn: round(rate.share, 3) for turn, rate in found.turns.items()}
    assert shares == {
        0: 0.403, 1: 0.301, 2: 0.391, 3: 0.448, 4: 0.476, 5: 0.470, 6: 0.483, 7: 0.489, 8: 0.474,
        9: 0.452, 10: 0.411, 11: 0.475, 12: 0.564, 13: 0.511, 14: 0.608,
    }  # fmt: skip
    first, second, last = found.turns[0], found.turns[1], found.turns[14]
    assert first.exact == pytest.approx((0.378, 0.427), abs=5e-4)
    assert last.exact == pytest.approx((0.491, 0.716), abs=5e-4)
    assert first.by_question == pytest.approx((0.337, 0.469), abs=0.005)
    assert (first.clustering.icc, first.clustering.effect, first.clustering.effective) == (
        pytest.approx((0.4316, 7.474, 214.07), rel=1e-3)
    )
    assert second.clustered_band is not None and second.share < second.clustered_band[0]
    # only the mean over turns looks right
    assert found.overall.share == pytest.approx(0.413, abs=5e-4)
    assert found.overall.clustered_band is not None
    assert found.overall.clustered_band[0] < found.overall.share < found.overall.clustered_band[1]
    assert found.shifts[0].p == pytest.approx(0.523, abs=1e-3)
    assert found.shifts[1].distance == pytest.approx(0.316, abs=5e-4)
    assert found.shifts[1].p < 1e-50 and found.shifts[1].clustered_p < 1e-5
    assert [turn for turn, shift in found.shifts.items() if shift.flagged] == [1]
    # the first turn raises no alarm, once its questions are broken up; the second does
    assert max(found.turn_by_turn.wealth[:1600]) < 1
    assert found.turn_by_turn.turn == 1 and found.turn_by_turn.at == pytest.approx(1800, abs=100)
    assert found.as_made.at is not None and found.as_made.at < 200


def test_calibrated_by_turn_on_other_questions_every_span_of_turns_holds_the_rate() -> None:
    """Half of the questions calibrate; decisions of 200 splits. Reference .407 .406 .399 .396 .393
    .392 .390. Single late turns have few decisions, and of them nothing is promised."""
    every = Sample.of(
        [score for _, _, score, _, _ in logged()],
        [chain // 16 for chain, *_ in logged()],
        [turn for _, turn, *_ in logged()],
    )

    def shares(splits: int, mode: ByTurn | Pooled) -> list[float]:
        counts = np.zeros((15, 2))
        for seed in range(splits):
            held, judged = every.split(seed)
            rule = mode.fit(held)
            draws = np.random.default_rng(seed).random(len(judged))
            for turn in range(15):
                at = judged.turns == turn
                reference = rule.references[rule.groups.of(turn, 0, "")]
                rejected = reference.rejects(judged.scores[at], 0.4, draws[at])
                counts[turn] += rejected.sum(), len(rejected)
            if seed == 0:  # what a judge says, in one call for each
                told = [
                    rule.judge(score, turn=turn, length=0, question=question, u=u).rejected
                    for score, turn, question, u in zip(
                        judged.scores.tolist(),
                        judged.turns.tolist(),
                        judged.questions,
                        draws.tolist(),
                        strict=True,
                    )
                ]
                assert sum(told) == counts[:, 0].sum()
        return [float(np.divide(*counts[a : b + 1].sum(axis=0))) for a, b in SPANS]

    found = shares(200, ByTurn())
    assert all(0.38 <= share <= 0.42 for share in found)
    assert found == pytest.approx([0.407, 0.406, 0.399, 0.396, 0.393, 0.392, 0.390], abs=0.015)
    # negative control: one threshold for all turns does not do it
    pooled = shares(20, Pooled())
    assert not all(0.38 <= share <= 0.42 for share in pooled)


def test_adaptive_replays_hold_the_mean_within_their_bound() -> None:
    """Reference, gamma .01, by span, in an order that is not known: .416 .313 .390 .455 .455 .382
    .456 with one rate in use for all; .398 .376 .390 .406 .443 .458 .430 with one for each turn."""
    bound = (0.6 + 0.01) / (0.01 * 6065)
    for mode, wrong in ((Adaptive(seen=True), 0.12), (AdaptiveByTurn(seen=True), 0.07)):
        found = replayed(mode.fit(calibration()).start())
        if isinstance(mode, Adaptive):
            assert abs(np.mean([d.rejected for d in found]) - 0.4) <= bound
        assert by_span(found) == pytest.approx([0.4] * len(SPANS), abs=wrong)
