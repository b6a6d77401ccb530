"""What fails is data, what is broken is not; either way nothing is left open."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from reason.backends.base import Chunk
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import BackendError, UsageError
from reason.types import Prompt, Result, SamplingParams, Segment
from tests.runs import Run, run

PLAIN = SamplingParams()


def says(text: str) -> ScriptedBackend:
    return ScriptedBackend(lambda context, params: text)


def test_a_dead_backend_is_data() -> None:
    def fails(context: str, params: SamplingParams) -> str:
        raise BackendError("connection refused")

    async def body(engine: Engine, prompt: Prompt) -> Result:
        await engine.generate(engine.open(prompt), PLAIN)
        raise AssertionError("not reached")

    done = run(body, fails)
    assert (done.result, done.error) == (None, "BackendError: connection refused")
    assert isinstance(done.failure, BackendError) and str(done.failure) == "connection refused"
    assert done.tree.root.finish == "error"
    assert done.tree.root.segments[1] == Segment("sampled", finish="error")


def test_a_stream_that_just_ends_is_an_error_and_keeps_what_came() -> None:
    class Broken(ScriptedBackend):
        async def generate(
            self, ids: Sequence[int], params: SamplingParams
        ) -> AsyncGenerator[Chunk, None]:
            yield Chunk("half", (1, 2))

    async def body(engine: Engine, prompt: Prompt) -> Result:
        await engine.generate(engine.open(prompt), PLAIN)
        raise AssertionError("not reached")

    done = run(body, Broken(lambda c, p: ""))
    assert done.error == "BackendError: policy stopped answering without saying why"
    assert done.tree.root.segments[1] == Segment("sampled", "half", [1, 2], finish="error")


@pytest.mark.parametrize("where", ["script", "method", "map"])
def test_a_bug_is_not_caught_but_leaves_nothing_open(where: str) -> None:
    def script(context: str, params: SamplingParams) -> str:
        if where != "method" and not context.endswith("!"):
            raise KeyError("oops")
        return "x" * 100

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        others = [engine.spawn(root, "fine!") for _ in range(3)]
        if where == "map":
            await engine.map(lambda t: engine.generate(t, PLAIN), [*others, engine.fork(root)])
        await engine.generate(root, PLAIN)
        raise KeyError("oops")

    seen = Run(body, script)
    with pytest.raises(KeyError, match="oops"):
        asyncio.run(seen.go())
    assert seen.engine is not None
    assert seen.engine.tree.root.finish == "error"
    assert "cancelled" in {t.finish for t in seen.engine.tree} or where != "map"


def test_a_timeout_of_the_methods_own_is_a_bug() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        engine.open(prompt)
        raise TimeoutError("not the budget's")

    with pytest.raises(TimeoutError, match="not the budget's"):
        run(body, says(""))


def test_an_error_before_the_first_thread_is_data_too() -> None:
    done = run(lambda engine, prompt: _open_elsewhere(engine, prompt), says(""))
    assert done.error == "UsageError: no model has the role 'nobody'; there is: policy"
    assert isinstance(done.failure, UsageError)
    assert (len(done.tree), done.account()["critical_path"]) == (0, 0)


async def _open_elsewhere(engine: Engine, prompt: Prompt) -> Result:
    engine.open(prompt, "nobody")
    raise AssertionError("not reached")
