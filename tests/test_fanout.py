"""map and race: many threads at once, and what becomes of failures."""

import asyncio
from collections.abc import Callable

import pytest

from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import BackendError, BudgetExceeded
from reason.events import Closed
from reason.ledger import Budget
from reason.types import Finish, Prompt, Result, SamplingParams, Thread
from tests.runs import Run, run

PLAIN = SamplingParams()


def by_length(context: str, params: SamplingParams) -> str:
    """Writes as many chunks as its prompt has characters; "bug" and "dead" fail instead."""
    if context == "bug":
        raise KeyError("oops")
    if context == "dead":
        raise BackendError("connection refused")
    return "x" * (8 * len(context))


def racing(
    prompts: list[str], leave: Callable[[list[str]], bool]
) -> tuple[Run, list[str], list[Finish | None]]:
    """A race that is left once `leave` says so: the run, who was heard, how all ended."""
    heard: list[str] = []

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, p) for p in prompts]
        async with engine.race(lambda t: engine.generate(t, PLAIN), threads) as finished:
            async for thread in finished:
                heard.append(thread.id)
                if leave(heard):
                    break
        assert isinstance(engine.backends["policy"], ScriptedBackend)
        assert engine.backends["policy"].running == 0
        assert all(t.finish for t in threads)
        return Result(None, root.id)

    seen = Run(body, ScriptedBackend(by_length, chunk=8))
    asyncio.run(seen.go())
    assert seen.engine is not None
    return seen, heard, [t.finish for t in seen.engine.tree][1:]


def test_a_race_hands_threads_over_as_they_finish() -> None:
    _, heard, finishes = racing(["aaaaa", "a", "aaa"], lambda heard: False)
    assert heard == ["0.1", "0.2", "0.0"]
    assert finishes == ["eos"] * 3


def test_leaving_a_race_stops_the_rest() -> None:
    seen, heard, finishes = racing(["a" * 50, "a", "a" * 50], lambda heard: True)
    assert heard == ["0.1"]
    assert finishes == ["cancelled", "eos", "cancelled"]
    assert seen.engine is not None and seen.engine.ledger.total_tokens < 100


def test_failed_threads_finish_a_race_too() -> None:
    _, heard, finishes = racing(["aaa", "dead"], lambda heard: False)
    assert heard == ["0.1", "0.0"]
    assert finishes == ["eos", "error"]


def test_a_race_without_threads() -> None:
    assert racing([], lambda heard: False)[1] == []


@pytest.mark.parametrize("leave", [True, False])
def test_a_bug_in_a_race_surfaces_even_if_nobody_looks(leave: bool) -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, p) for p in ("a" * 50, "bug")]
        async with engine.race(lambda t: engine.generate(t, PLAIN), threads) as finished:
            if leave:
                for _ in range(5):
                    await asyncio.sleep(0)
            else:
                async for _ in finished:
                    pass
        return Result(None, root.id)

    seen = Run(body, ScriptedBackend(by_length, chunk=8))
    with pytest.raises(KeyError, match="oops"):
        asyncio.run(seen.go())
    assert seen.engine is not None
    assert [t.finish for t in seen.engine.tree] == ["error", "cancelled", "error"]


def test_a_race_left_before_any_thread_ran_closes_them_all() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, "a") for _ in range(3)]
        async with engine.race(lambda t: engine.generate(t, PLAIN), threads):
            pass
        return Result(str([t.finish for t in threads]), root.id)

    assert run(body, by_length).result == Result(str(["cancelled"] * 3), "0")


def test_an_error_raised_in_the_body_of_a_race_comes_out_as_it_is() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, "a" * n) for n in (1, 30)]
        async with engine.race(lambda t: engine.generate(t, PLAIN), threads) as finished:
            async for _ in finished:
                with pytest.raises(BudgetExceeded, match=r"reached budget\.threads=3"):
                    engine.fork(root)
                engine.fork(root)
        raise AssertionError("not reached")

    done = run(body, by_length, budget=Budget(threads=3))
    assert (done.error, done.limit) == ("the run reached budget.threads=3", "threads")
    assert [t.finish for t in done.tree] == ["budget", "eos", "cancelled"]


def test_map_keeps_the_order_and_turns_failures_into_none() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, p) for p in ("aaa", "dead", "a")]
        segments = await engine.map(lambda t: engine.generate(t, PLAIN), threads)
        engine.join(root, threads)
        return Result(str([s and len(s.ids) for s in segments]), root.id)

    seen = Run(body, by_length)
    done = asyncio.run(seen.go())
    assert done.result == Result("[24, None, 8]", "0")
    assert [t.finish for t in done.tree] == ["eos", "eos", "error", "eos"]
    details = [e.detail for e in seen.events if isinstance(e, Closed)]
    assert details == ["connection refused", "", "", ""]
    assert (done.error, done.tree.critical_path, done.ledger.total_tokens) == (None, 24, 32)


def test_map_of_nothing() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        return Result(str(await engine.map(lambda t: engine.generate(t, PLAIN), [])), root.id)

    assert run(body, by_length).result == Result("[]", "0")


def test_a_bug_in_a_map_stops_the_others_and_comes_out_as_it_is() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)

        async def outer(thread: Thread) -> None:
            inner = [engine.spawn(thread, p) for p in ("a" * 50, "bug")]
            await engine.map(lambda t: engine.generate(t, PLAIN), inner)

        await engine.map(outer, [engine.fork(root), engine.fork(root)])
        raise AssertionError("not reached")

    seen = Run(body, ScriptedBackend(by_length, chunk=8))
    with pytest.raises(KeyError, match="oops"):
        asyncio.run(seen.go())
    assert seen.engine is not None
    assert seen.engine.ledger.total_tokens < 100
    assert {t.id: t.finish for t in seen.engine.tree} == {
        "0": "error",
        "0.0": "error",
        "0.1": "error",
        "0.0.0": "cancelled",
        "0.0.1": "error",
        "0.1.0": "cancelled",
        "0.1.1": "error",
    }


def test_a_thousand_threads_at_once() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.fork(root) for _ in range(1000)]
        await engine.map(lambda t: engine.generate(t, PLAIN), threads)
        engine.join(root, threads)
        return Result(None, root.id)

    done = run(body, lambda context, params: "x" * 16)
    assert (done.tree.critical_path, done.ledger.total_tokens) == (16, 16_000)
    assert (done.ledger.threads, done.ledger.peak_threads) == (1001, 1001)
