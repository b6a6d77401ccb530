"""Two models on one chain: who writes what, who waits for whom, and what is decided."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.judging import Judgement
from calibration.modes import Pooled
from calibration.sample import Sample
from calibration.store import Calibration, Identity, save
from controllers.atts import AsyncScaling
from controllers.question import question_id
from controllers.self_consistency import SelfConsistency
from controllers.stability import AdaptiveConsistency
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.run import Controller, Trajectory, solve
from reason.types import SamplingParams
from reason.virtual import VirtualLoop
from reason.watch import Watch
from tests.runs import Run, run

SAMPLING = SamplingParams(temperature=0.8, max_tokens=8)
ATTS = AsyncScaling(n=3, turns=4, rate=0.0, sampling=SAMPLING)


class Fixed:
    """A judge that rejects what it is told to: by chain and turn."""

    def __init__(self, *rejected: int) -> None:
        self.rejected, self.heard = rejected, list[tuple[int, int, str]]()

    def judge(self, score: float, *, turn: int, length: int, question: str, u: float) -> Judgement:
        self.heard.append((turn, length, question))
        return Judgement(0.5, 1.0, turn in self.rejected, "all", 0.5, 1, 0.5)


def writer(name: str, turns: int = 3, delay: float = 0.0, words: bool = False) -> ScriptedBackend:
    """Writes "<name>0 ", "<name>1 ", … by how much was written, and an answer in the end."""

    async def script(context: str, params: SamplingParams) -> str:
        _, _, said = context.partition("</user>")
        await asyncio.sleep(delay)
        done = said.count(";")
        return f"{name}{done}; never" if done < turns else "\\boxed{7}"

    model = ScriptedBackend(script, chunk=64, words=words, model=name)
    return model


def chunks(**knobs: Any) -> AsyncScaling:
    return replace(ATTS, sampling=SAMPLING.but(stop=(";",), max_tokens=99), **knobs)


def texts(done: Trajectory, thread: str = "0.0") -> list[str]:
    return [s.text for s in done.tree[thread].segments if s.origin != "prompt"]


def test_a_rejected_chunk_stays_and_the_target_goes_on_after_it() -> None:
    method = chunks(n=1).judged_by(Fixed(1))
    done = run(method, writer("d"), others={"target": writer("T")})
    assert texts(done) == ["d0;", "d1;", "T2;", "\\boxed{7}"]
    assert [s.origin for s in done.tree["0.0"].segments] == [
        "sampled",
        "sampled",
        "injected",
        "sampled",
    ]
    target = done.tree["0.0.0"]
    assert (target.model, target.segments[0].origin) == ("target", "prompt")
    assert target.text == "d0;d1;T2;\\boxed{7}"
    assert done.result and done.result.answer == "7"
    extra = done.result.extra
    assert (extra["decisions"], extra["rejected"]) == (3, 1)
    assert (extra["draft_tokens"], extra["target_tokens"]) == (6 + len("\\boxed{7}"), 3)
    assert done.tree.critical_path == done.ledger.total_tokens == 9 + len("\\boxed{7}")


def test_a_rejected_chunk_may_be_replaced() -> None:
    method = chunks(n=1, rejected="replace").judged_by(Fixed(1))
    done = run(method, writer("d"), others={"target": writer("T")})
    assert done.result and done.result.answer == "7"
    last = done.tree[done.result.thread]
    sent = "".join(map(chr, last.ids)).partition("</user>")[2]
    assert sent == "d0;T1;d2;\\boxed{7}"
    assert done.ledger.total_tokens == len("d0;d1;T1;d2;\\boxed{7}") == done.tree.critical_path
    assert [t.continues for t in done.tree] == [False, False, False, True, True]


@pytest.mark.parametrize(("rate", "rejected"), [(0.0, 0), (1.0, 12)])
def test_nothing_and_everything_need_no_calibration(rate: float, rejected: int) -> None:
    done = run(chunks(rate=rate), writer("d", 9), others={"target": writer("T", 9)})
    assert done.result and done.result.extra["rejected"] == rejected
    assert done.result.extra["decisions"] == 12
    starved = run(chunks(rate=0.4), writer("d"), others={"target": writer("T")})
    assert isinstance(starved.failure, UsageError)
    assert "rate 0.4 needs a calibration" in str(starved.failure)


def test_what_is_on_record() -> None:
    done = run(chunks(n=1).judged_by(Fixed(0)), writer("d"), others={"target": writer("T")})
    note = next(note for note in done.tree.notes if note.name == "decision")
    assert note.thread == "0.0"
    assert note.value == {
        "question": question_id("Q"),
        "turn": 0,
        "score": pytest.approx(1.1051709, abs=1e-6),  # every token of the script has p = exp(-0.1)
        "length": 3,
        "p": 0.5,
        "threshold": 1.0,
        "rejected": True,
        "group": "all",
        "rate": 0.5,
        "n": 1,
        "percentile": 0.5,
    }


def test_the_judge_hears_of_turn_length_and_question() -> None:
    judge = Fixed()
    run(chunks(n=2).judged_by(judge), writer("d"), others={"target": writer("T")}, prompt="Why?")
    question = question_id("Why?")
    assert sorted(judge.heard) == sorted(
        2 * [(0, 3, question), (1, 3, question), (2, 3, question), (3, 9, question)]
    )
    assert question_id("Why?") != question_id("Why")
    assert question_id([{"role": "user", "content": "x"}]) != question_id("x")


def test_a_draft_that_ends_its_sequence_ends_the_chain_or_is_gone_on_after() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "mmm"

    draft = ScriptedBackend(script)
    kept = run(chunks(n=1).judged_by(Fixed()), draft, others={"target": writer("T", 0)})
    assert texts(kept) == ["mmm"] and kept.result and kept.result.answer is None
    saved = run(chunks(n=1).judged_by(Fixed(0)), draft, others={"target": writer("T", 0)})
    assert texts(saved) == ["mmm", "\\boxed{7}"] and saved.result and saved.result.answer == "7"


def test_an_answer_over_two_chunks_is_found() -> None:
    def script(context: str, params: SamplingParams) -> str:
        said = context.partition("</user>")[2]
        return ("I say \\boxed{12} and " * 9)[len(said) :]

    method = replace(ATTS, n=1, turns=9, sampling=SAMPLING.but(max_tokens=12))
    done = run(method, ScriptedBackend(script), others={"target": writer("T")})
    assert texts(done) == ["I say \\boxed", "{12} and I s"]
    assert done.result and done.result.answer == "12"


def test_an_empty_draft_is_rejected_and_counted() -> None:
    silent = ScriptedBackend(lambda context, params: "")
    rule = Pooled(rate=0.5).fit(Sample.of([1.0] * 9, range(9))).start()
    done = run(chunks(n=1).judged_by(rule), silent, others={"target": writer("T", 0)})
    note = next(note for note in done.tree.notes if note.name == "decision")
    assert isnan(note.value["score"]) and note.value["rejected"] and note.value["p"] is None
    assert done.result and done.result.answer == "7"


def test_models_with_other_tokens_read_each_others_text() -> None:
    done = run(
        chunks(n=1).judged_by(Fixed(1)),
        writer("d"),
        others={"target": writer("T", words=True)},
    )
    assert texts(done) == ["d0;", "d1;", "T2;", "\\boxed{7}"]
    target = done.tree["0.0.0"]
    # every chunk by itself: no token of the target reaches over a border
    assert [s.text for s in target.segments[1:]] == ["d0;", "d1;", "T2;", "\\boxed{7}"]
    assert [len(s.ids) for s in target.segments[1:]] == [1, 1, 1, 1]
    lengths = [n.value["length"] for n in done.tree.notes if n.name == "decision"]
    assert lengths == [1, 1, 1]


def test_a_run_without_a_target_says_how_to_give_one() -> None:
    done = run(ATTS, writer("d"))
    assert isinstance(done.failure, UsageError) and "backends.target=SPEC" in str(done.failure)
    mute = writer("T")
    mute.info = replace(mute.info, scores=False)
    refused = run(ATTS, writer("d"), others={"target": mute})
    assert isinstance(refused.failure, UsageError)
    assert "the target T returns no log-probabilities" in str(refused.failure)
    assert refused.ledger.total_tokens == 0


# Time, on a virtual clock


class Timed:
    """A model whose n-th request for a chain takes the time that stands in a table."""

    def __init__(self, name: str, seconds: dict[tuple[int, int], float]) -> None:
        self.seconds, self.running, self.most = seconds, 0, 0
        self.model = ScriptedBackend(self.script, chunk=64, model=name)

    async def script(self, context: str, params: SamplingParams) -> str:
        said = context.partition("</user>")[2]
        turn, chain = said.count(";"), (params.seed or 0) % 3
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds[chain, turn])
        finally:
            self.running -= 1
        return f"{chain}{turn};"


def timed(method: AsyncScaling, seconds: dict[tuple[int, int], float], seed: int) -> Any:
    draft, target = Timed("d", seconds), Timed("T", seconds)
    loop = VirtualLoop()
    try:
        task = Run(method, draft.model, seed=seed, others={"target": target.model}).go()
        return loop.run_until_complete(task), draft, target
    finally:
        loop.close()


def decisions(done: Trajectory) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for note in done.tree.notes:
        if note.name == "decision":
            found.setdefault(note.thread, []).append(note.value["rejected"])
    return found


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_no_chain_waits_for_another(seed: int) -> None:
    rng = random.Random(seed)
    seconds = {(c, t): rng.choice((0.1, 1.0, 5.0)) for c in range(3) for t in range(9)}
    method = chunks(n=4, turns=4)
    done, _, _ = timed(method, seconds, seed)
    waits, _, _ = timed(replace(method, synchronous=True), seconds, seed)
    assert {t.id: t.text for t in done.tree} == {t.id: t.text for t in waits.tree}
    assert decisions(done) == decisions(waits)
    took = [
        [seconds[int(text[0]), turn] for turn, text in enumerate(texts(done, f"0.{i}"))]
        for i in range(4)
    ]
    assert done.ledger.seconds == pytest.approx(max(sum(chain) for chain in took))
    assert waits.ledger.seconds == pytest.approx(sum(max(turn) for turn in zip(*took, strict=True)))
    assert done.ledger.seconds <= waits.ledger.seconds + 1e-9


def test_places_are_bounded_over_all_runs() -> None:
    seconds = {(c, t): 1.0 for c in range(3) for t in range(30)}
    draft, target = Timed("d", seconds), Timed("T", seconds)
    method = chunks(n=4, turns=2, rate=1.0, draft_slots=3, target_slots=2)
    others = {"target": target.model}
    loop = VirtualLoop()

    async def both() -> None:
        models = {"policy": draft.model, **others}
        await asyncio.gather(*(solve(method, question, models) for question in ("A", "B")))

    try:
        loop.run_until_complete(both())
    finally:
        loop.close()
    assert (draft.most, target.most) == (3, 2)


def test_a_stopped_chain_does_not_hold_up_the_others() -> None:
    seconds = {(c, t): 1.0 for c in range(3) for t in range(9)}
    draft = Timed("d", seconds)
    method = chunks(n=3, turns=3, synchronous=True)
    observed = Run(method, draft.model, others={"target": writer("T")})

    async def go() -> Trajectory:
        task = asyncio.ensure_future(observed.go())
        await asyncio.sleep(0.5)
        assert observed.engine
        observed.engine.cancel(observed.engine.tree["0.1"])
        return await task

    loop = VirtualLoop()
    try:
        done = loop.run_until_complete(go())
    finally:
        loop.close()
    assert {i: len(d) for i, d in decisions(done).items()} == {"0.0": 3, "0.2": 3}
    assert done.tree["0.1"].finish == "cancelled"


@given(st.lists(st.floats(1, 9), min_size=5, max_size=40), st.data())
@settings(max_examples=30, deadline=None)
def test_more_is_rejected_at_a_higher_rate(scores: list[float], data: Any) -> None:
    sample = Sample.of(scores, range(len(scores)))
    score, u = data.draw(st.floats(1, 9)), data.draw(st.floats(0, 0.99))
    said = [
        Pooled(rate=rate / 10)
        .fit(sample)
        .start()
        .judge(score, turn=0, length=1, question="q", u=u)
        .rejected
        for rate in range(11)
    ]
    assert said == sorted(said) and not said[0] and said[-1]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"n": 0}, "n must be 1 or more, got 0"),
        ({"turns": 0}, "turns must be 1 or more, got 0"),
        ({"rate": 1.2}, r"rate must be in 0..1, a share of the chunks, got 1.2"),
        ({"target_slots": -1}, "target_slots must be 0 or more, got -1"),
        ({"score": "best"}, "score must be perplexity, likelihood or tail_confidence, got 'best'"),
        ({"score": "margin"}, "log-probabilities of drafted tokens and no more"),
    ],
)
def test_what_cannot_be(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AsyncScaling(**knobs)


def test_unknown_modes_are_named() -> None:
    done = run(replace(ATTS, mode="best"), writer("d"), others={"target": writer("T")})
    assert isinstance(done.failure, UsageError) and "turn" in str(done.failure)


def test_an_end_of_sequence_is_no_text_for_another_tokenizer() -> None:
    """The draft's end is cut before the target reads, scores and goes on."""
    draft = ScriptedBackend(lambda context, params: "half done$", chunk=64, model="d")
    draft.info = replace(draft.info, ends=(ord("$"),))
    target = ScriptedBackend(
        lambda context, params: "more \\boxed{7}", chunk=64, words=True, model="T"
    )
    done = run(replace(ATTS, n=1, turns=1, rate=1.0, sampling=SamplingParams(max_tokens=99)), draft,
               others={"target": target})  # fmt: skip
    (theirs,) = [thread for thread in done.tree if thread.model == "target"]
    assert theirs.text == "half donemore \\boxed{7}" or theirs.text == "half done more \\boxed{7}"
    assert "$" not in theirs.text
    last = done.tree[done.result.thread] if done.result else done.tree.root
    assert "$" not in draft.decode(last.ids)
    assert done.result and done.result.answer == "7"
    note = next(note for note in done.tree.notes if note.name == "decision")
    assert note.value["length"] == 2  # "half" and "done"


def kept_calibration(folder: Path, method: AsyncScaling, known: list[str]) -> str:
    identity = Identity("d", "T", "some data", config=method.conditions())
    rows = [(1.0 + place / 10, question, 0, 8) for place, question in enumerate(known)]
    save(Calibration(identity, Sample.of(*map(list, zip(*rows, strict=True)))), folder / "c.json")
    return str(folder / "c.json")


OTHERS = [f"{number:016x}" for number in range(8)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"turns": 2}, None),
        ({"turns": 9}, "of the turns 4 and is used with 9"),
        ({"sampling": SAMPLING.but(stop=(".",))}, "draft.stop"),
        ({"sampling": SAMPLING.but(stop_token_ids=(3,))}, "target.stop"),
    ],
)
def test_a_calibration_is_of_one_pipeline(
    tmp_path: Path, change: dict[str, Any], said: str | None
) -> None:
    method = replace(ATTS, rate=0.5)
    file = kept_calibration(tmp_path, method, OTHERS)
    others = {"target": writer("T")}
    done = run(replace(method, calibration=file, **change), writer("d"), others=others)
    if said is None:
        assert done.failure is None and done.warnings == ()
    else:
        assert said in str(done.failure)
    forced = run(
        replace(method, calibration=file, force=True, **change), writer("d"), others=others
    )
    assert bool(forced.warnings) == bool(said) and forced.failure is None


def test_questions_and_data_of_a_calibration(tmp_path: Path) -> None:
    method = replace(ATTS, rate=0.5)
    others = {"target": writer("T")}
    prompt = run(replace(ATTS, n=1, turns=1), writer("d"), others=others).prompt
    file = kept_calibration(tmp_path, method, [question_id(prompt), *OTHERS])
    method = replace(method, calibration=file)
    done = run(method, writer("d"), others=others)
    assert isinstance(done.failure, UsageError) and "is one of the 9 questions" in str(done.failure)
    assert done.ledger.total_tokens == 0  # refused before anything is paid for
    forced = run(replace(method, force=True), writer("d"), others=others)
    assert forced.warnings == (
        "the question is one of those of the calibration, whose chunks are no longer comparable "
        "with it: the rate of rejections may be any",
    )
    other = run(replace(method, force=True).asked("other data"), writer("d"), others=others)
    assert "of the data 'some data' and is used with 'other data'" in other.warnings[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda chain: chain,
        lambda chain: SelfConsistency(n=2, chain=chain),
        lambda chain: AdaptiveConsistency(n=2, chain=SelfConsistency(n=2, chain=chain)),
    ],
)
def test_what_it_lacks_is_said_before_anything_is_paid_for_wherever_it_is(
    tmp_path: Path, wrap: Callable[[AsyncScaling], Controller]
) -> None:
    right = replace(ATTS, rate=0.5)
    file = kept_calibration(tmp_path, right, OTHERS)
    right = replace(right, calibration=file)
    known = kept_calibration(tmp_path / "known", right, [question_id("Q"), *OTHERS])
    place = {AsyncScaling: "", SelfConsistency: "chain: ", AdaptiveConsistency: "chain.chain: "}
    both = {"target": writer("T")}
    mute = writer("T")
    mute.info = replace(mute.info, scores=False)
    for method, others, words in (
        (replace(right, calibration=""), both, "rate 0.5 needs a calibration: make one with"),
        (right, {}, "atts needs two models: give the one that takes over as backends.target"),
        (right, {"target": mute}, "the target T returns no log-probabilities of given texts"),
        (replace(right, turns=9), both, "the calibration is of the turns 4 and is used with 9: "),
        (replace(right, calibration=known), both, f"question {question_id('Q')!r} is one of the 9"),
    ):
        whole = wrap(method)
        done = run(whole, writer("d"), others=others)
        assert isinstance(done.failure, UsageError) and done.ledger.total_tokens == 0
        assert str(done.failure).startswith(place[type(whole)] + words), str(done.failure)
    done = run(wrap(right), writer("d"), others=both)  # negative control
    assert done.failure is None and done.result and done.ledger.total_tokens > 0


def test_a_calibration_that_rejects_nothing_says_so(tmp_path: Path) -> None:
    method = replace(ATTS, rate=0.05)
    file = kept_calibration(tmp_path, method, OTHERS)
    done = run(replace(method, calibration=file), writer("d"), others={"target": writer("T")})
    assert "a rate of 0.05 needs 19: its threshold is infinite" in done.warnings[0]


def test_what_is_watched_may_wait_for_each_other() -> None:
    """Draft and target join each other in turn: who holds the answer is found all the same."""

    def script(context: str, params: SamplingParams) -> str:
        return "so \\boxed{7} <x> 7"

    watch = Watch()
    models = [ScriptedBackend(script, chunk=64, model=name) for name in ("d", "T")]
    method = replace(ATTS, n=1, turns=2, sampling=SamplingParams(max_tokens=3))
    method = replace(method, target_sampling=SamplingParams()).judged_by(Fixed(0))
    done = run(method, models[0], others={"target": models[1]}, sinks=[watch])
    assert done.result and done.result.answer == "7"
    watch.win(done.result.thread, "7")
    assert {"0", "0.0", "0.0.0"} <= watch.winners
