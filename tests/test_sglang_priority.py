"""A parent that goes on overtakes children that still wait, on a server that knows priorities."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest

from reason.backends.sglang import SGLangBackend
from reason.engine import Engine
from reason.run import solve
from reason.types import Prompt, Result, SamplingParams, Thread
from tests.driving import run
from tests.serving import COUNTDOWN, serving
from tests.test_sglang import running

AT_ONCE = 2
CHILDREN = 12
CHILD = "<bos> <seq> 77 31 52 73 94 ; 0 <go>"


@dataclass(frozen=True)
class Stragglers:
    """A parent that asks once more while most of its children wait for a place on the server;
    `priority` is on top of what the engine gives a parent."""

    name: ClassVar[str] = "stragglers"
    url: str
    priority: int

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        params = SamplingParams(max_tokens=60, temperature=1.0, stop_token_ids=())
        children = [engine.spawn(root, CHILD) for _ in range(CHILDREN)]
        finished: list[str] = []

        async def write(thread: Thread, params: SamplingParams) -> None:
            await engine.generate(thread, params)
            finished.append(thread.id)

        async def parent() -> None:
            while await asyncio.to_thread(running, self.url) < CHILDREN:
                await asyncio.sleep(0)
            await write(root, params.but(max_tokens=8, priority=self.priority))

        await asyncio.gather(engine.map(lambda child: write(child, params), children), parent())
        engine.join(root, children)
        return Result(str(finished.index(root.id)), root.id)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    options = {
        "max_running_requests": str(AT_ONCE),
        "enable_priority_scheduling": "true",
        # Turned round, so that our "higher goes first" has to be translated, too.
        "schedule_low_priority_values_first": "true",
        "preferred_sampling_params": '{"ignore_eos": true}',
    }
    with serving(COUNTDOWN, **options) as server:
        yield server.url


def test_a_parent_overtakes_the_children_that_wait(url: str) -> None:
    backend = SGLangBackend(url)
    place = {}
    for priority in (0, -1, -2):
        found = run(solve(Stragglers(url, priority), CHILD, {"policy": backend}))
        assert found.error is None and found.result and found.result.answer
        place[priority] = int(found.result.answer)
    # Who is served at that moment goes on to its end, and the next may have been picked already.
    assert place[0] <= 2 * AT_ONCE
    # On a level with the children it is first come, first served; the last ones run beside the
    # parent, which asks for less.
    assert CHILDREN - AT_ONCE < place[-1] <= CHILDREN
    assert place[-2] >= place[-1]
    run(backend.close())
