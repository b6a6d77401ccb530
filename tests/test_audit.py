"""The audit of decisions: intervals, clustering, shifts and alarms, on data of a known kind."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from calibration.audit import Audit, Decision, audit
from calibration.clusters import band, bootstrap, clopper_pearson, clustering
from calibration.conformal import Reference, expected, rank
from calibration.martingale import Jumper, Online, wealth
from calibration.modes import ByTurn, Pooled
from calibration.plots import draw
from calibration.sample import Sample
from calibration.shifts import shifts
from calibration.table import terminal
from reason.errors import UsageError

Array = NDArray[np.float64]


def clustered(rng: np.random.Generator, questions: int, each: int, icc: float = 0.43) -> Array:
    """Scores by question, normal, those of a question correlated by `icc`."""
    between = rng.normal(size=(questions, 1)) * np.sqrt(icc)
    return np.asarray(between + rng.normal(size=(questions, each)) * np.sqrt(1 - icc))


def sample_of(scores: Array, prefix: str = "c", turn: int = 0) -> Sample:
    names = np.repeat([f"{prefix}{i}" for i in range(len(scores))], scores.shape[1])
    return Sample.of(scores.ravel(), names.tolist(), np.full(scores.size, turn))


def decisions_of(scores: Array, held: Sample, turn: int = 0, prefix: str = "t") -> list[Decision]:
    judge = Pooled().fit(held).start()
    found = []
    for question, row in enumerate(scores.tolist()):
        for score in row:
            told = judge.judge(score, turn=turn, length=0, question=f"{prefix}{question}", u=0.5)
            found.append(Decision(f"{prefix}{question}", turn, score, told.p, told.rejected))
    return found


def test_clustering_written_out() -> None:
    flags, questions = [1, 1, 0, 0, 0, 1], list("aabbcc")
    # means 1, 0, .5; between 2*((.5)^2+(.5)^2)/2 = .5, within .5/3
    icc = (0.5 - 1 / 6) / (0.5 + 1 / 6)
    found = clustering(flags, questions)
    assert (found.icc, found.effect, found.effective) == pytest.approx(
        (icc, 1 + icc, 6 / (1 + icc))
    )
    alike = clustering([1, 1, 1, 1], list("aabb"))
    assert (alike.icc, alike.effective) == (1, 2)  # nothing to learn it from
    single = clustering([1, 0, 1, 0], list("aaaa"))
    assert (single.icc, single.effective) == (1, 1)
    assert clustering([1, 0, 1], list("abc")).effective == 3
    uneven = clustering([1, 1, 1, 1, 0], list("aaaab"))
    assert uneven.icc == 1 and uneven.effect == pytest.approx(17 / 5)


def test_clustering_finds_the_correlation_that_was_put_in() -> None:
    scores = clustered(np.random.default_rng(0), 2000, 8)
    names = np.repeat(np.arange(2000), 8).astype(str).tolist()
    assert clustering(scores.ravel(), names).icc == pytest.approx(0.43, abs=0.02)
    shuffled = np.random.default_rng(1).permutation(scores.ravel())
    assert clustering(shuffled, names).icc == pytest.approx(0, abs=0.01)


def test_intervals_are_those_of_scipy_and_of_the_resampled_questions() -> None:
    reference = stats.binomtest(7, 30).proportion_ci(method="exact")
    assert clopper_pearson(7, 30) == (reference.low, reference.high)
    assert clopper_pearson(0, 5)[0] == 0 and clopper_pearson(5, 5)[1] == 1
    rng = np.random.default_rng(2)
    flags = [rng.random(4) < chance for chance in rng.random(40)]
    questions = np.repeat(np.arange(40), 4).astype(str).tolist()
    means = np.array([f.mean() for f in flags])
    drawn = rng.choice(means, size=(20_000, 40)).mean(axis=1)
    found = bootstrap(np.concatenate(flags), questions)
    assert found == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.01)
    assert found == bootstrap(np.concatenate(flags), questions)
    assert bootstrap([1, 0], ["a", "a"]) is None


def test_the_band_is_that_of_the_beta_binomial() -> None:
    for n, m, rate in ((500, 500, 0.4), (99, 30, 0.1), (20, 700, 0.75)):
        k = rank(n, rate)
        law = stats.betabinom(m, n + 1 - k, k)
        assert band(n, m, rate) == pytest.approx(tuple(law.ppf((0.025, 0.975)) / m))
    assert band(500, 500, 0.4) == pytest.approx((0.340, 0.460), abs=0.002)
    assert (band(8, 50, 0.1), band(8, 50, 1.0)) == ((0, 0), (1, 1))


def test_a_clustered_calibration_widens_the_band_and_does_not_move_it() -> None:
    """The threshold is that of all scores, however few questions they are of."""
    plain, few, fewer = (band(100, 200, 0.1, e) for e in (None, 8, 2))
    assert fewer[0] <= few[0] < plain[0] < 0.1 < plain[1] < few[1] <= fewer[1]
    assert band(100, 200, 0.1, 100) == band(100, 200, 0.1, 500) == plain
    law = stats.betabinom(200, expected(100, 0.1) * 9, (1 - expected(100, 0.1)) * 9)
    assert few == pytest.approx(tuple(law.ppf((0.025, 0.975)) / 200))


def split_rates(by_question: bool, repeats: int = 400) -> Array:
    """100 questions x 16 chunks each time anew; half calibrates, the other is judged."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(repeats):
        scores = clustered(rng, 100, 16)
        mixed = scores if by_question else rng.permutation(scores.ravel()).reshape(100, 16)
        held, judged = mixed[:50].ravel(), mixed[50:].ravel()
        found.append(Reference.of(held).rejects(judged, 0.4, rng.random(800)).mean())
    return np.array(found)


def test_chunks_of_a_question_are_no_independent_ones() -> None:
    """ICC .43: split by sample sd .020, by question sd .055, 95% [.295, .514]; mean .40 both."""
    by_sample, by_question = split_rates(False), split_rates(True)
    assert (by_sample.mean(), by_question.mean()) == pytest.approx((0.4, 0.4), abs=0.012)
    theory = stats.betabinom(800, 801 - rank(800, 0.4), rank(800, 0.4)).std() / 800
    assert by_sample.std() == pytest.approx(theory, rel=0.2)
    low, high = np.quantile(by_question, (0.025, 0.975))
    assert by_question.std() == pytest.approx(0.055, abs=0.006)
    assert (low, high) == pytest.approx((0.295, 0.514), abs=0.02)


def test_one_chunk_of_each_question_makes_the_rate_exact_and_no_narrower() -> None:
    """Reference: mean .395 for an exact .396 with 100 calibration questions, sd .055."""
    rng = np.random.default_rng(0)
    rates = []
    for seed in range(300):
        held = sample_of(clustered(rng, 100, 4)).one_per_question(seed)
        judged = clustered(rng, 100, 4).ravel()
        rates.append(Reference.of(held.scores).rejects(judged, 0.4, rng.random(400)).mean())
    assert expected(100, 0.4) == pytest.approx(0.396, abs=1e-4)
    assert np.mean(rates) == pytest.approx(expected(100, 0.4), abs=3 * 0.06 / np.sqrt(300))
    assert np.std(rates) == pytest.approx(0.06, abs=0.012)


def test_a_shift_is_found_and_no_shift_is_not() -> None:
    """Of 200 files without a shift at most 5% are flagged, clustered or not."""

    def flagged(icc: float, shift: float, seed: int) -> tuple[bool, bool]:
        rng = np.random.default_rng(seed)
        held, scores = clustered(rng, 40, 6, icc), clustered(rng, 40, 6, icc) + shift
        names = np.repeat(np.arange(40), 6).astype(str).tolist()
        found = shifts({0: (scores.ravel(), names, sample_of(held))})[0]
        return found.flagged, found.p <= 0.05

    free = np.mean([flagged(0.0, 0.0, seed) for seed in range(200)], axis=0)
    alike = np.mean([flagged(0.43, 0.0, seed) for seed in range(200)], axis=0)
    assert free[0] <= 0.05 and free[1] <= 0.08
    assert alike[0] <= 0.05
    assert alike[1] > 0.2  # negative control: as if chunks were independent
    assert np.mean([flagged(0.43, 1.5, seed)[0] for seed in range(20)]) == 1
    assert shifts({}) == {}


def test_the_martingale_stays_low_and_then_sees_the_change() -> None:
    """Reference: 6,000 uniform p-values bring it to 10^0.42; Beta(1.3, 1) after step 3,000 to 100
    at step 3,946."""
    rng = np.random.default_rng(0)
    calm, path = wealth(rng.random(6000))
    assert (calm.alarm, calm.steps, len(path)) == (None, 6000, 6000) and calm.highest < 2
    changed, path = wealth(np.concatenate((rng.random(3000), rng.beta(1.3, 1, 3000))).tolist())
    assert changed.alarm is not None and 3000 < changed.alarm < 5000
    assert max(path) == changed.highest and path[-1] == changed.wealth
    low, _ = wealth(rng.beta(1, 1.3, 4000))
    assert low.alarm is not None  # either way


def test_the_martingale_written_out() -> None:
    jumper = Jumper()
    assert jumper.update(0.5) == pytest.approx(0)  # nothing won at the middle
    assert jumper.update(1.0) == pytest.approx(0)  # stakes are balanced
    stakes = np.array([-1, -0.5, 0, 0.5, 1])
    shares = 0.99 * (0.2 * (1 + stakes * 0.5)) + 0.002
    assert 10 ** jumper.update(1.0) == pytest.approx(float(shares @ (1 + stakes * 0.5)))


def test_alarms_are_false_for_one_run_in_a_hundred_if_scores_join_the_calibration() -> None:
    """p-values of one fixed calibration share its error: in a long run that alone raises alarms."""
    joined = fixed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        held, scores, u = rng.normal(size=50), rng.normal(size=1500), rng.random(1500)
        online = Online(np.sort(held).tolist())
        p_values = (online.p_value(s, v) for s, v in zip(scores.tolist(), u.tolist(), strict=True))
        joined += wealth(p_values)[0].alarm is not None
        fixed += wealth(Reference.of(held).smoothed(scores, u))[0].alarm is not None
    assert joined <= 2
    assert fixed >= 15


def test_online_p_values_are_those_of_a_growing_reference() -> None:
    rng = np.random.default_rng(3)
    online, held = Online([]), []
    for score in rng.integers(0, 4, 60).astype(float).tolist():
        u = rng.random()
        assert online.p_value(score, u) == pytest.approx(
            float(Reference.of(held).smoothed(score, u))
        )
        held.append(score)
    assert online.held == sorted(held)


def example() -> Audit:
    """Two turns: the second is surprising, and calibrated by the first alone."""
    rng = np.random.default_rng(4)
    held = sample_of(clustered(rng, 60, 4))
    made = decisions_of(clustered(rng, 40, 4), held)
    made += decisions_of(clustered(rng, 30, 4) + 1.5, held, turn=1)
    made.insert(3, Decision("t0", 1, float("nan"), None, True))
    return audit(made, 0.4, held)


def test_an_audit_of_two_turns() -> None:
    found = example()
    assert found.not_finite == 1 and list(found.turns) == [0, 1]
    first, second = found.turns[0], found.turns[1]
    assert (first.chunks, first.questions, second.chunks, second.questions) == (160, 40, 120, 30)
    assert found.overall.chunks == sum(found.histogram) == 280
    assert found.overall.rejected == first.rejected + second.rejected
    assert first.clustered_band is not None and second.clustered_band is not None
    assert first.clustered_band[0] <= first.share <= first.clustered_band[1]
    assert second.share > second.clustered_band[1]
    assert [shift.flagged for shift in found.shifts.values()] == [False, True]
    assert found.turn_by_turn.turn == 1
    assert found.turn_by_turn.at is not None and found.turn_by_turn.at > 160
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["turns"]["1"]["share"] == second.share
    assert written["shifts"]["1"]["flagged"] is True
    assert set(written["as_made"]) == {"at", "turn", "highest"}


def test_a_calibration_of_all_turns_is_compared_turn_by_turn() -> None:
    rng = np.random.default_rng(5)
    held_scores, scores = clustered(rng, 60, 2), clustered(rng, 40, 2)
    turns, names = np.tile([0, 1], 60), np.repeat([f"c{i}" for i in range(60)], 2)
    held = Sample.of((held_scores + 2 * np.array([0, 1])).ravel(), names.tolist(), turns)
    judge = ByTurn().fit(held).start()
    made = []
    for question, row in enumerate((scores + 2 * np.array([0, 1])).tolist()):
        for turn, score in enumerate(row):
            told = judge.judge(score, turn=turn, length=0, question=f"t{question}", u=0.5)
            made.append(Decision(f"t{question}", turn, score, told.p, told.rejected))
    found = audit(made, 0.4, held)
    assert not any(shift.flagged for shift in found.shifts.values())
    assert found.overall.band is None and found.turns[1].band == band(60, 40, 0.4)
    assert found.turn_by_turn.at is None
    # negative control: against the first turn alone
    assert audit(made, 0.4, held.where(held.turns == 0)).shifts[1].flagged


def test_without_a_calibration_there_is_nothing_to_compare_with() -> None:
    made = [Decision(str(i), 0, float(i % 7), 0.5, i % 3 == 0) for i in range(30)]
    found = audit(made, 0.3)
    assert (found.shifts, found.overall.band, found.overall.clustered_band) == ({}, None, None)
    assert found.overall.exact == clopper_pearson(10, 30)
    with pytest.raises(UsageError, match="none of 1 decisions has a finite score"):
        audit([Decision("a", 0, float("inf"), None, True)], 0.3)


def test_the_table_fits_80_columns_and_tells_what_is_wrong() -> None:
    console = Console(file=io.StringIO(), width=80)
    for part in terminal(example()):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert lines[0].startswith("rejections, for a rate of 40.0%")
    assert lines[1].split() == [
        "turn", "chunks", "questions", "rejected", "[95%]", "expected", "eff.", "KS", "p",
    ]  # fmt: skip
    assert lines[2].split()[:3] == ["0", "160", "40"] and "!" not in lines[2]
    assert lines[3].split()[:3] == ["1", "120", "30"] and lines[3].count("!") == 2
    assert "! 1 more had a score that is not finite, and were rejected" in text
    assert "of turn 1, turn by turn, in random order" in text
    assert "…" not in text and max(map(len, lines)) <= 80
    for part in terminal(audit([Decision("a", 0, 1.0, 0.5, False)], 0.3)):
        console.print(part)


def test_plots_are_the_same_files_for_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = draw(example(), tmp_path / "one")
    assert names == ["calibration-turns.svg", "calibration-p-values.svg", "calibration-wealth.svg"]
    draw(example(), tmp_path / "two")
    for name in names:
        svg = (tmp_path / "one" / name).read_bytes()
        assert svg == (tmp_path / "two" / name).read_bytes()
        png = (tmp_path / "one" / name).with_suffix(".png").read_bytes()
        assert png.startswith(b"\x89PNG")
    assert b"as if independent" in (tmp_path / "one" / names[0]).read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write to"):
        draw(example(), tmp_path / "file")
