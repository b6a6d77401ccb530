"""The modes of calibration: groups, refusals, states, and what holds of their rates."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.catalog import MODES, mode_named
from calibration.conformal import Reference
from calibration.groups import Bins
from calibration.judging import Judge, Judgement
from calibration.modes import ByLength, ByQuestion, ByTurn, Pooled
from calibration.online import Adaptive, AdaptiveByTurn, Window, WindowJudge
from calibration.paper import Paper
from calibration.sample import Sample
from calibration.weighted import WeightedByTurn
from reason.errors import UsageError


def sample(questions: int = 40, each: int = 4, turns: int = 3, seed: int = 0) -> Sample:
    """Scores that rise by 1 with each turn; lengths 0 to 99."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"q{i}" for i in range(questions)], each * turns)
    turn = np.tile(np.arange(turns), questions * each)
    scores = rng.normal(size=len(names)) + turn
    return Sample.of(scores, names.tolist(), turn, rng.integers(0, 100, len(names)))


def judged(judge: Judge, score: float, turn: int = 0, length: int = 10) -> Judgement:
    return judge.judge(score, turn=turn, length=length, question="new", u=0.5)


TEN = Sample.of(np.arange(1, 11), [f"q{i}" for i in range(10)])


@given(
    st.lists(st.integers(0, 5), max_size=20),
    st.integers(-1, 6),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_a_judge_says_what_the_core_says(
    scores: list[int], score: int, rate: float, u: float
) -> None:
    core = Reference.of(scores)
    rule = Pooled(rate=rate).fit(Sample.of(scores, range(len(scores))))
    found = rule.judge(float(score), turn=0, length=0, question="new", u=u)
    assert found == Judgement(
        float(core.p_values(score, u)),
        core.threshold(rate),
        bool(core.rejects(score, rate, u)),
        "all",
        rate,
        len(scores),
        int(core.below(score)) / len(scores) if scores else None,
    )


def test_a_judgement_is_told_whole() -> None:
    judge = Pooled(rate=0.3).fit(TEN).start()  # k = ceil(11 * .7) = 8
    assert judged(judge, 8.5) == Judgement(3 / 11, 8.0, True, "all", 0.3, 10, 0.8)
    assert judged(judge, 7.5) == Judgement(4 / 11, 8.0, False, "all", 0.3, 10, 0.7)
    assert judged(judge, nan) == Judgement(None, 8.0, True, "all", 0.3, 10, None)
    assert judged(Pooled(rate=0).fit(TEN), 99.0).to_json() == {
        "p": 1 / 11, "threshold": None, "rejected": False, "group": "all", "rate": 0, "n": 10,
        "percentile": 1.0,
    }  # fmt: skip


def test_paper_counts_strictly_below_and_breaks_no_ties() -> None:
    judge = Paper().fit(TEN)
    assert [judged(judge, s).rejected for s in (6.0, 6.5, 7.0)] == [False, True, True]
    assert judged(judge, 7.0) == Judgement(5 / 11, 6.0, True, "turn 0", 0.4, 10, 0.6)
    assert judge.judge(6.5, turn=9, length=0, question="q3", u=0.0).rejected  # seen, and later
    mixed = Sample.of([1, 2, 3, 50, 60], list("abcab"), [0, 0, 0, 1, 1])
    assert len(Paper().fit(mixed).sample) == 3
    assert judged(Paper().fit(mixed), inf) == Judgement(None, 2.0, True, "turn 0", 0.4, 3, None)
    assert Paper().fit(Sample.of([], [])).warnings == ("the calibration has no scores of turn 0",)


def test_without_a_calibration_paper_rejects_all_at_a_rate_of_1_only() -> None:
    empty = Sample.of([], [])
    for percentile in (0.0, 0.6):
        assert judged(Paper(percentile).fit(empty), 3.0).rejected == (percentile == 0.0)


def test_weights_that_are_too_light_for_the_rate_are_told_of() -> None:
    """1,600 scores of the first turn and one of the twelfth, where they hardly count."""
    held = Sample.of([1.0] * 1600 + [1.0], [f"q{i}" for i in range(1601)], [0] * 1600 + [12])
    rule = WeightedByTurn(rate=0.3).fit(held)
    assert not judged(rule, 99.0, turn=12).rejected
    (said,) = rule.warnings
    assert said.startswith("scores around turn 12 count as 1.4 of their weight") and "2.3" in said
    assert WeightedByTurn(rate=0.3, decay=1).fit(held).warnings == ()
    assert WeightedByTurn(rate=0).fit(held).warnings == ()


@pytest.mark.parametrize("name", MODES)
def test_every_mode_rejects_what_is_not_finite_and_any_at_a_rate_of_1(name: str) -> None:
    mode = MODES[name]
    rule = mode().fit(sample())
    question = "q0" if name == "question" else "new"
    for score in (nan, inf, -inf):
        found = rule.start().judge(score, turn=0, length=0, question=question, u=0.5)
        assert (found.p, found.rejected) == (None, True)
    for rate in (0.0, 1.0):
        free = {"percentile": 1 - rate} if name == "paper" else {"rate": rate}
        judge = mode(**free).fit(sample()).start()
        for turn in (0, 2, 9):
            found = judge.judge(2.0, turn=turn, length=9, question=question, u=0.5)
            assert found.rejected == (rate == 1)


@pytest.mark.parametrize("name", MODES)
def test_a_question_of_the_calibration_is_refused_unless_allowed(name: str) -> None:
    rule = MODES[name]().fit(sample())
    if name in ("paper", "question"):
        rule.start().judge(1.0, turn=0, length=0, question="q3", u=0.5)
        return
    with pytest.raises(UsageError, match=r"'q3' is one of the 40 questions .* seen=True"):
        rule.start().judge(1.0, turn=0, length=0, question="q3", u=0.5)
    allowed = MODES[name](seen=True).fit(sample())
    allowed.start().judge(1.0, turn=0, length=0, question="q3", u=0.5)


STATELESS = [name for name in MODES if name not in ("window", "aci", "aci_turn")]


@pytest.mark.parametrize("name", STATELESS)
def test_without_a_state_decisions_do_not_depend_on_the_order(name: str) -> None:
    rng = np.random.default_rng(1)
    judge = MODES[name]().fit(sample()).start()
    question = "q0" if name == "question" else "new"
    chunks = [(float(rng.normal()), int(rng.integers(0, 5)), float(rng.random())) for _ in "x" * 50]

    def ask(chunk: tuple[float, int, float]) -> Judgement:
        score, turn, u = chunk
        return judge.judge(score, turn=turn, length=turn, question=question, u=u)

    there, back = [ask(c) for c in chunks], [ask(c) for c in reversed(chunks)]
    assert there == back[::-1]
    shuffled = sample()
    order = rng.permutation(len(shuffled))
    again = Sample.of(
        shuffled.scores[order],
        [shuffled.questions[i] for i in order],
        shuffled.turns[order],
        shuffled.lengths[order],
    )
    judge = MODES[name]().fit(again).start()
    assert [ask(c) for c in chunks] == there


@pytest.mark.parametrize("name", ["window", "aci", "aci_turn"])
def test_every_run_has_an_online_judge_of_its_own(name: str) -> None:
    rule = MODES[name]().fit(sample())
    scores = np.random.default_rng(2).normal(size=40)
    first, second = rule.start(), rule.start()
    assert first is not second
    there = [judged(first, s) for s in scores]
    assert [judged(second, s) for s in scores] == there
    assert [judged(first, s) for s in scores] != there  # it has learnt


def test_turns_have_thresholds_of_their_own_and_small_ones_are_merged() -> None:
    found = ByTurn().fit(sample(turns=3))
    thresholds = [judged(found, 0.0, turn).threshold for turn in range(4)]
    assert np.diff(thresholds[:3]) == pytest.approx(1, abs=0.4)
    assert thresholds[3] == thresholds[2]  # never seen: as the last
    groups = {judged(found, 0.0, turn).group: judged(found, 0.0, turn).n for turn in range(9)}
    assert groups == {"turn 0": 160, "turn 1": 160, "turns 2+": 160}
    pooled = Pooled().fit(sample(turns=3))
    assert [judged(pooled, 0.0, t).threshold for t in (0, 1, 2)] == [
        judged(pooled, 0).threshold
    ] * 3


def test_how_groups_are_merged() -> None:
    def bins(counts: list[int], least: int = 50) -> list[str]:
        turns = np.repeat(np.arange(len(counts)), counts)
        found = Bins.of_values(turns, np.unique(turns).tolist(), least, "turn")
        return list(dict.fromkeys(found.name(turn) for turn in range(len(counts) + 3)))

    assert bins([60, 50, 49, 1, 30, 20]) == ["turn 0", "turn 1", "turns 2-3", "turns 4+"]
    assert bins([60, 50, 49]) == ["turn 0", "turns 1+"]  # what is left joins the last
    assert bins([10, 20]) == bins([]) == ["turns 0+"]
    assert bins([0, 0, 70, 80]) == ["turns 0-2", "turns 3+"]  # begins at 0 all the same
    assert bins([70, 0, 0, 80]) == ["turns 0-2", "turns 3+"]
    assert bins([1, 1, 1], least=1) == ["turn 0", "turn 1", "turns 2+"]


def test_lengths_have_bins_of_equally_many() -> None:
    found = ByLength(bins=4).fit(sample())
    groups = {judged(found, 0.0, 0, length).group for length in range(200)}
    sizes = [r.n for r in found.references.values()]
    assert len(groups) == 4 and sum(sizes) == 480 and max(sizes) - min(sizes) < 25
    assert set(ByLength(bins=1).fit(sample()).references) == {"tokens 0+"}
    none = Sample.of([1.0, 2.0], ["a", "b"])  # nobody counted
    assert set(ByLength().fit(none).references) == {"tokens 0+"}


def test_by_question_only_its_own_scores_count() -> None:
    own = Sample.of([1, 2, 3, 11, 12, 13], list("aaabbb"))
    judge = ByQuestion(rate=0.25).fit(own).start()

    def of(question: str) -> Judgement:
        return judge.judge(5.0, turn=0, length=0, question=question, u=0.5)

    assert of("a") == Judgement(0.25, 3.0, True, "question a", 0.25, 3, 1.0)
    assert of("b") == Judgement(1.0, 13.0, False, "question b", 0.25, 3, 0.0)
    with pytest.raises(UsageError, match="'c' has no scores in the calibration of 2 questions"):
        of("c")
    assert len(ByQuestion(rate=0.2).fit(own).warnings) == 2


def test_groups_too_small_for_the_rate_are_told() -> None:
    small = Sample.of(np.arange(5), range(5))
    assert Pooled(rate=0.1).fit(small).warnings == (
        "group 'all' has 5 scores and a rate of 0.1 needs 9: its threshold is infinite and nothing "
        "there is rejected; calibrate on more questions, or choose a higher rate",
    )
    assert WeightedByTurn(rate=0.1).fit(small).warnings == (
        "the calibration has 5 scores and a rate of 0.1 needs 9: its threshold is infinite and "
        "nothing there is rejected; calibrate on more questions, or choose a higher rate",
    )
    for mode in MODES.values():
        assert mode().fit(sample()).warnings == ()
        if mode is not Paper:
            assert len(replace(mode(), rate=0.001).fit(small).warnings) >= 1  # type: ignore[type-var]
        if mode is not ByQuestion:
            assert len(mode().fit(Sample.of([], [])).warnings) == 1
    with pytest.raises(UsageError, match="the calibration is empty, and the mode question needs"):
        ByQuestion().fit(Sample.of([], []))
    assert judged(Pooled().fit(Sample.of([], [])), 5.0) == Judgement(
        1.0, inf, False, "all", 0.4, 0, None
    )


def test_weights_fall_with_the_distance_in_turns() -> None:
    rows = sample(turns=3)
    flat, steep = WeightedByTurn(decay=1.0).fit(rows), WeightedByTurn(decay=1e-9).fit(rows)
    by_turn, pooled = ByTurn().fit(rows), Pooled().fit(rows)
    for score in np.linspace(-2, 4, 25):
        for turn in range(3):
            kept = judged(pooled, score, turn)
            assert judged(flat, score, turn).p == pytest.approx(kept.p)
            assert judged(flat, score, turn).threshold == kept.threshold
            own = judged(by_turn, score, turn)
            assert judged(steep, score, turn).p == pytest.approx(own.p, abs=1e-6)
            assert judged(steep, score, turn).rejected == own.rejected
    between = judged(WeightedByTurn(decay=0.5).fit(rows), 0.0, 2).threshold
    assert judged(pooled, 0, 2).threshold < between < judged(by_turn, 0, 2).threshold


def test_the_window_holds_the_last_scores() -> None:
    judge = Window(size=4).fit(TEN).start()
    assert isinstance(judge, WindowJudge) and len(judge.window) == 4
    assert set(judge.window) < set(TEN.scores.tolist())
    for score in (101.0, nan, 102.0, 103.0, 104.0):
        judged(judge, score)
    assert list(judge.window) == [101.0, 102.0, 103.0, 104.0]
    # k = ceil(5 * .6) = 3
    assert judged(judge, 103.5) == Judgement(0.4, 103.0, True, "window", 0.4, 4, 0.75)
    empty = Window(size=4).fit(Sample.of([], [])).start()
    assert [judged(empty, s).rejected for s in (1.0, 0.0, 5.0)] == [False, False, True]


def test_a_window_with_decay_forgets_gradually() -> None:
    judge = Window(size=500, decay=0.9).fit(TEN).start()
    shares = [judged(judge, s).rejected for s in np.random.default_rng(3).normal(8, 1, 400)]
    assert np.mean(shares[200:]) == pytest.approx(0.4, abs=0.08)
    one = Window(decay=0.9999999).fit(TEN).start(), Window(decay=1.0).fit(TEN).start()
    for score in np.random.default_rng(4).normal(5, 3, 50):
        assert judged(one[0], score).p == pytest.approx(judged(one[1], score).p, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-3, 12), min_size=1, max_size=200),
    st.sampled_from([0.005, 0.05, 0.3, 1.0]),
    st.floats(0, 1),
)
def test_the_adaptive_rate_is_held_whatever_the_scores(
    scores: list[int], gamma: float, rate: float
) -> None:
    judge = Adaptive(rate=rate, gamma=gamma).fit(TEN).start()
    found = [judged(judge, float(s)).rejected for s in scores]
    bound = (max(rate, 1 - rate) + gamma) / (gamma * len(scores))
    assert abs(np.mean(found) - rate) <= bound + 1e-9


def test_adaptive_rates_leave_the_unit_interval_and_then_all_or_none_are_rejected() -> None:
    judge = Adaptive(rate=0.4, gamma=0.5).fit(TEN).start()
    found = [judged(judge, 1e9) for _ in range(4)]
    assert [f.rate for f in found] == pytest.approx([0.4, 0.1, -0.2, 0.0])
    assert [f.rejected for f in found] == [True, True, False, False]
    assert judged(judge, nan).rejected  # and changes nothing
    assert judged(judge, 1e9).rate == pytest.approx(0.2)
    low = [judged(Adaptive(rate=0.9, gamma=1).fit(TEN).start(), -1e9)]
    assert not low[0].rejected


def test_a_shift_is_followed_by_adaptive_and_not_by_a_fixed_threshold() -> None:
    """+1 sd at half of 6,000 steps, a = .4. Reference: fixed .387, then .757; gamma .005 .415 with
    .625 in the first 200 steps; .02 .407 and .475; .05 .401 and .42."""
    rng = np.random.default_rng(0)
    held = Sample.of(rng.normal(size=500), range(500))
    scores = rng.normal(size=6000)
    scores[3000:] += 1

    def shares(judge: Judge) -> tuple[float, float, float]:
        out = np.array([judged(judge, s).rejected for s in scores])
        return float(out[:3000].mean()), float(out[3000:].mean()), float(out[3000:3200].mean())

    fixed = shares(Pooled().fit(held).start())
    assert fixed == pytest.approx((0.387, 0.757, 0.757), abs=0.06)
    for gamma, after, first in ((0.005, 0.415, 0.625), (0.02, 0.407, 0.475), (0.05, 0.401, 0.42)):
        found = shares(Adaptive(gamma=gamma).fit(held).start())
        assert found[0] == pytest.approx(0.4, abs=0.02)
        assert found[1] == pytest.approx(after, abs=0.015)
        assert found[2] == pytest.approx(first, abs=0.06)


def test_adaptive_by_turn_holds_the_rate_of_every_turn() -> None:
    rng = np.random.default_rng(5)
    held = Sample.of(rng.normal(size=400), range(400))  # of turn 0 alone
    turns = rng.integers(0, 4, 4000)
    scores = rng.normal(size=4000) + 0.8 * turns

    def by_turn(judge: Judge) -> list[float]:
        out = np.array([judged(judge, s, t).rejected for s, t in zip(scores, turns, strict=True)])
        return [float(out[turns == turn].mean()) for turn in range(4)]

    assert by_turn(AdaptiveByTurn(gamma=0.05).fit(held).start()) == pytest.approx(
        [0.4] * 4, abs=0.03
    )
    pooled = by_turn(Adaptive(gamma=0.05).fit(held).start())
    assert pooled[0] < 0.25 and pooled[3] > 0.6  # right on average, and of no turn
    assert np.mean(pooled) == pytest.approx(0.4, abs=0.02)


def test_options_that_cannot_be() -> None:
    for wrong, told in (
        (lambda: Pooled(rate=1.5), "rate must be in 0..1"),
        (lambda: Paper(percentile=-1), "percentile must be in 0..1"),
        (lambda: Adaptive(gamma=0), "gamma must be above 0"),
        (lambda: AdaptiveByTurn(gamma=nan), "gamma must be above 0"),
        (lambda: Window(size=0), "size must be 1 or more"),
        (lambda: Window(decay=0), "decay must be above 0"),
        (lambda: WeightedByTurn(decay=2), "decay must be above 0"),
        (lambda: ByLength(bins=0), "bins must be 1 or more"),
        (lambda: ByTurn(least=0), "least must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    for mode in (Pooled(), WeightedByTurn(), Window(decay=0.9)):
        with pytest.raises(ValueError, match=r"u must be in 0..1, without the 1, got 1"):
            mode.fit(TEN).start().judge(1.0, turn=0, length=0, question="new", u=1.0)
    with pytest.raises(UsageError, match="no mode of calibration is called 'x'; there is: pooled,"):
        mode_named("x")


def test_a_sample_says_what_is_wrong_with_it() -> None:
    for wrong, told in (
        (lambda: Sample.of([1.0], ["a", "b"]), "1 scores have 2 questions: one for each"),
        (lambda: Sample.of([1.0], ["a"], [0, 1]), "1 scores have 2 turns: one for each"),
        (
            lambda: Sample.of([1.0, nan], ["a", "b"]),
            r"score 1 .* is nan \(question b\), expected a",
        ),
        (lambda: Sample.of([1.0], ["a"], [-1]), "a turn of the calibration is -1, expected 0, 1"),
        (lambda: Sample.of([1.0], ["a"], [0], [1.5]), "a length of the calibration is 1.5, expec"),
        (lambda: TEN.split(0, 0.01), "0.01 of 10 questions leaves one side without any"),
    ):
        with pytest.raises(UsageError, match=told):
            wrong()


def test_a_sample_is_split_by_question() -> None:
    rows = sample(questions=11)
    one, other = rows.split(3)
    assert one.known | other.known == rows.known and not one.known & other.known
    assert (len(one.known), len(one), len(other)) == (6, 72, 60)
    assert rows.split(3)[0].questions == one.questions != rows.split(4)[0].questions
    assert np.array_equal(rows.of_questions(one.known).scores, one.scores)
    single = rows.one_per_question(0)
    assert sorted(single.questions) == sorted(rows.known)
    assert set(single.scores) <= set(rows.scores) and np.all(np.diff(single.scores) > 0)
    picked = {tuple(rows.one_per_question(seed).scores) for seed in range(5)}
    assert len(picked) == 5
