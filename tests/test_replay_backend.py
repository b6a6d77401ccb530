"""Recorded answers served again: what, when, and in which order."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from eval.tasks import task_of
from reason.backends.base import Backend, Info
from reason.backends.pieces import Pieces
from reason.backends.recorded import answers
from reason.backends.replay import Recorded, ReplayBackend
from reason.condenser import Condenser
from reason.errors import BackendError, Unsupported
from reason.journal import Sink
from reason.ledger import Budget
from reason.run import Controller, Trajectory, solve
from reason.types import SamplingParams
from reason.virtual import VirtualLoop
from tests.driving import collect
from tests.oracle import oracle
from tests.runs import snapshot

T = TypeVar("T")
PARAMS = SamplingParams(max_tokens=10_000)


def virtually(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def recording(*answers: tuple[str, float], context: int = 100_000) -> ReplayBackend:
    """Answers to anything, each with the seconds it took; the first token comes after a tenth."""
    words = Pieces()
    made = [
        Recorded(ids := tuple(words.encode(text)), logprobs=(-0.5,) * len(ids),
                 wait=seconds / 10, seconds=seconds)
        for text, seconds in answers
    ]  # fmt: skip
    return ReplayBackend(made, words, Info("recorded", "words", context, 1 << 30, "always"))


@given(st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    words = Pieces()
    assert words.decode(words.encode(text)) == text


def test_answers_come_in_order_and_at_their_time() -> None:
    async def work() -> None:
        model = recording(("slow " * 100, 1000.0), ("quick " * 10, 50.0))
        loop = asyncio.get_running_loop()
        ids = model.encode("a question")

        async def timed() -> tuple[str, float]:
            whole = await collect(model, ids, PARAMS)
            assert whole.last.usage and whole.last.usage.prompt_tokens == len(ids)
            assert whole.logprobs == [-0.5] * len(whole.ids)
            return whole.text, loop.time()

        slow, quick = await asyncio.gather(timed(), timed())
        assert slow == (("slow " * 100), pytest.approx(1000.0))
        assert quick == (("quick " * 10), pytest.approx(50.0))

    virtually(work())


@pytest.mark.parametrize("cut", range(1, 12))
def test_what_is_stopped_early_goes_on_where_it_stopped(cut: int) -> None:
    async def work() -> None:
        text = "one two three. four five six. seven eight nine. ten"
        model = recording((text, 10.0))
        ids = model.encode("a question")
        first = await collect(model, ids, PARAMS.but(max_tokens=cut))
        assert first.last.finish == ("length" if cut < 10 else "eos") and len(first.ids) == min(
            cut, 10
        )
        if cut < 10:
            second = await collect(model, [*ids, *first.ids], PARAMS)
            assert first.text + second.text == text and second.last.finish == "eos"
            assert asyncio.get_running_loop().time() == pytest.approx(10.0)
            scores = await model.score([*ids, *first.ids, *second.ids], len(ids) + cut)
            assert scores == [-0.5] * (10 - cut)

    virtually(work())


def test_a_stop_string_ends_an_answer_as_it_would_have() -> None:
    async def work() -> None:
        model = recording(("one two three. four", 4.0))
        ids = model.encode("a question")
        whole = await collect(model, ids, PARAMS.but(stop=("e. ", "three.")))
        assert (whole.text, whole.last.finish, whole.last.stopped_at) == (
            "one two three.", "stop", "three.",
        )  # fmt: skip
        rest = await collect(model, [*ids, *whole.ids], PARAMS)
        assert (rest.text, rest.last.finish) == (" four", "eos")

    virtually(work())


def test_what_was_not_recorded_is_refused() -> None:
    async def work() -> None:
        model = recording(("one", 1.0))
        ids = model.encode("a question")
        await collect(model, ids, PARAMS)
        with pytest.raises(BackendError, match=r"all 1 that were recorded are used; ask for fewer"):
            await collect(model, ids, PARAMS)
        with pytest.raises(Unsupported, match="no log-probabilities"):
            await model.score(ids, 1)
        stopped = Recorded((0,), "stop")
        short = ReplayBackend([stopped], Pieces(), model.info)
        short.encode("something")
        with pytest.raises(BackendError, match="ends with 'stop' after 1 tokens"):
            await collect(short, [0], PARAMS)

    virtually(work())


def vote(budget: Budget) -> Trajectory:
    async def work() -> Trajectory:
        chains = [(r"so \boxed{1}", 30.0), (r"so \boxed{2}", 900.0), (r"so \boxed{2}", 900.0)]
        model = recording(*chains)
        method = SelfConsistency(n=3, sampling=PARAMS)
        return await solve(method, "a question", {"policy": model}, budget=budget)

    return virtually(work())


def test_a_vote_and_a_limit_of_seconds_over_recorded_chains() -> None:
    free = vote(Budget())
    assert free.result and free.result.answer == "2" and free.ledger.seconds == pytest.approx(900)
    hurried = vote(Budget(seconds=100))
    assert hurried.limit == "seconds" and hurried.ledger.seconds == pytest.approx(100)
    assert hurried.result and hurried.result.answer == "1" and hurried.error is None


@pytest.mark.parametrize(
    "method",
    [
        AdaptiveParallel(syntax="countdown"),
        AdaptiveParallel(syntax="countdown", width=2),
        SelfConsistency(n=3, syntax="countdown"),
        BestOfN(n=4, enough=1.0, syntax="countdown"),
    ],
)
def test_a_method_replayed_over_its_own_recording_is_the_same_run(method: Controller) -> None:
    """The same tree at the same times; the model that answers knows nothing but the recording."""
    item = next(task_of("countdown4").items(1, 3, "countdown"))
    scorers = {"verifier": lambda thread, answer: float(item.verify(answer))}

    condenser = Condenser()

    async def go(model: Backend, *sinks: Sink) -> Trajectory:
        return await solve(method, item.prompt, {"policy": model}, sinks=sinks, scorers=scorers)

    model = oracle(wrong=0.3, delay=0.25)
    first = virtually(go(model, condenser))
    recorded = [answer for role, answer in answers(condenser.events) if role == "policy"]
    assert len(recorded) == sum(
        s.origin == "sampled" for thread in first.tree for s in thread.segments
    )
    second = virtually(go(ReplayBackend(recorded, model, model.info)))
    assert snapshot(second.tree) == snapshot(first.tree)
    assert second.result == first.result and first.result is not None
    assert second.ledger.seconds == pytest.approx(first.ledger.seconds)
    assert second.ledger.ttft == pytest.approx(first.ledger.ttft)
