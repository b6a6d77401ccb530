"""Two models on one chain: who writes what, who waits for whom, and what is decided."""

import asyncio
import random
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.judging import Judgement
from calibration.modes import Pooled
from calibration.sample import Sample
from controllers.atts import AsyncScaling
from controllers.question import question_id
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.run import Trajectory, solve
from reason.types import SamplingParams
from reason.virtual import VirtualLoop
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
    ],
)
def test_what_cannot_be(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AsyncScaling(**knobs)


def test_unknown_modes_and_scores_are_named() -> None:
    others = {"target": writer("T")}
    for knobs, words in (({"mode": "best"}, "turn"), ({"score": "best"}, "perplexity")):
        done = run(replace(ATTS, **knobs), writer("d"), others=others)
        assert isinstance(done.failure, UsageError) and words in str(done.failure)
