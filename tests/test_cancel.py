"""Cancelling from within: by a sink, by the method itself, while a parent waits."""

import asyncio
from collections.abc import Sequence

import pytest

from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.events import Event, Tokens
from reason.types import Prompt, Result, SamplingParams, Thread
from tests.runs import Run, run

PLAIN = SamplingParams()


def script(context: str, params: SamplingParams) -> str:
    return "x" * (8 + 8 * (len(context) % 3))


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_sink_may_cancel_the_thread_it_hears_of(nth: int) -> None:
    """Also on its last tokens, when the request is over before it can be stopped."""

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(2)]
        segments = await engine.map(lambda t: engine.generate(t, PLAIN), chains)
        engine.join(root, chains)
        await asyncio.sleep(0)
        return Result(str([s and s.text for s in segments]), root.id)

    seen = Run(body, ScriptedBackend(lambda c, p: "x" * 32, chunk=8))
    heard: list[Event] = []

    def sink(event: Event) -> None:
        if isinstance(event, Tokens) and event.thread == "0.0" and event.origin == "sampled":
            heard.append(event)
            if len(heard) == nth:
                assert seen.engine is not None
                seen.engine.cancel(seen.engine.tree["0.0"])

    seen.sinks.append(sink)
    done = asyncio.run(seen.go())
    assert done.result == Result(str([None, "x" * 32]), "0")
    assert [t.finish for t in done.tree] == ["eos", "cancelled", "eos"]
    assert done.tree["0.0"].text == "x" * 8 * nth
    assert done.tree["0.0"].segments[-1].finish == ("eos" if nth == 4 else "cancelled")


def test_a_parent_cancelled_while_it_waits_goes_no_further() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)

        async def parent(thread: Thread) -> str:
            children = [engine.spawn(thread, "c") for _ in range(2)]
            await engine.map(lambda t: engine.generate(t, PLAIN), children)
            engine.join(thread, children)
            engine.cancel(thread)
            with pytest.raises(Exception, match=r"thread 0\.0 was cancelled"):
                engine.spawn(thread, "more")
            await engine.generate(thread, PLAIN)
            raise AssertionError("not reached")

        results = await engine.map(parent, [engine.fork(root)])
        return Result(str(results), root.id)

    done = run(body, script)
    assert done.result == Result("[None]", "0")
    assert [t.finish for t in done.tree] == ["eos", "cancelled", "eos", "eos"]


def test_a_root_cancelled_while_it_waits_may_still_answer_from_what_it_has() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(2)]
        segments = await engine.map(lambda t: engine.generate(t, PLAIN), chains)
        return Result(str(segments), root.id)

    seen = Run(body, script)

    def sink(event: Event) -> None:
        assert seen.engine is not None
        if isinstance(event, Tokens) and event.thread == "0.1":
            seen.engine.cancel(seen.engine.tree.root)

    seen.sinks.append(sink)
    done = asyncio.run(seen.go())
    assert done.result == Result("[None, None]", "0")
    assert {t.finish for t in done.tree} == {"cancelled"}


def test_scoring_can_be_cancelled() -> None:
    class Judge(ScriptedBackend):
        async def score(self, ids: Sequence[int], start: int) -> list[float]:
            await asyncio.Event().wait()
            raise AssertionError("not reached")

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        children = [engine.fork(root)]
        await engine.generate(children[0], PLAIN)
        asyncio.get_running_loop().call_soon(engine.cancel, children[0])
        scores = await engine.map(engine.score, children)
        return Result(str(scores), root.id)

    assert run(body, Judge(script)).result == Result("[None]", "0")
