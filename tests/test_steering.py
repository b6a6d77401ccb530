"""Stopping threads and runs at every moment they can be stopped at."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from reason.backends.base import Chunk
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.ledger import Budget
from reason.run import Trajectory
from reason.types import Prompt, Result, SamplingParams, Thread
from tests.runs import Run

PLAIN = SamplingParams()


class Slow(ScriptedBackend):
    """Takes a while to let go of a request, as a remote server does."""

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        stream = super().generate(ids, params)
        self.running += 1
        try:
            async for chunk in stream:
                yield chunk
        finally:
            try:
                await stream.aclose()
                for _ in range(3):
                    await asyncio.sleep(0)
            finally:
                self.running -= 1


def script(context: str, params: SamplingParams) -> str:
    return "x" * (8 + 8 * (len(context) % 3))


async def nested(engine: Engine, prompt: Prompt) -> Result:
    """Map within map, a race, a fork that goes on in its parent's place."""
    root = engine.open(prompt)

    async def deep(thread: Thread) -> str:
        await engine.generate(thread, PLAIN)
        below = [engine.spawn(thread, "y" * i) for i in (1, 2, 3)]
        await engine.map(lambda t: engine.generate(t, PLAIN), below)
        engine.join(thread, below)
        after = engine.fork(thread)
        segment = await engine.generate(after, PLAIN)
        engine.join(thread, [after])
        return segment.text

    chains = [engine.fork(root) for _ in range(2)]
    texts = await engine.map(deep, chains)
    engine.join(root, chains)
    racers = [engine.fork(root) for _ in range(3)]
    async with engine.race(lambda t: engine.generate(t, PLAIN), racers) as finished:
        async for first in finished:
            engine.join(root, [first])
            break
    segment = await engine.generate(root, PLAIN)
    return Result(f"{texts} {segment.text}", root.id)


async def turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def disturbed(
    disturb: Callable[[Engine, "asyncio.Task[Trajectory]"], object],
    at: int,
    backend: type[ScriptedBackend],
) -> tuple[Run, "asyncio.Task[Trajectory]"]:
    """A run to which something happens after so many turns of the loop."""
    seen = Run(nested, backend(script, chunk=8))
    task = asyncio.create_task(seen.go())
    await turns(at)
    assert seen.engine is not None
    disturb(seen.engine, task)
    await asyncio.wait([task])
    return seen, task


def points(backend: type[ScriptedBackend]) -> int:
    """Turns of the loop that an undisturbed run takes."""

    async def main() -> int:
        task = asyncio.create_task(Run(nested, backend(script, chunk=8)).go())
        n = 0
        while not task.done():
            await asyncio.sleep(0)
            n += 1
        assert (await task).error is None
        return n

    return asyncio.run(main())


BACKENDS = [ScriptedBackend, Slow]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_any_point_leaves_nothing_open(backend: type[ScriptedBackend]) -> None:
    for at in range(1, points(backend)):
        _, task = asyncio.run(disturbed(lambda e, t: t.cancel(), at, backend))
        assert task.cancelled(), at


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_impatient_ctrl_c_changes_nothing(backend: type[ScriptedBackend]) -> None:
    async def main(at: int, again: int) -> bool:
        task = asyncio.create_task(Run(nested, backend(script, chunk=8)).go())
        await turns(at)
        task.cancel()
        await turns(again)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    for at in range(1, points(backend)):
        assert asyncio.run(main(at, at % 5))


NAMES = ["0", "0.0", "0.1", "0.0.1", "0.1.3", "0.2", "0.4"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_cancelling_a_thread_at_any_point(name: str, backend: type[ScriptedBackend]) -> None:
    """The run goes on without it, or ends for want of its root; nothing else is stopped."""
    hit = 0
    for at in range(1, points(backend)):
        before: dict[str, bool] = {}

        def cancel(engine: Engine, task: object, before: dict[str, bool] = before) -> None:
            if name in engine.tree:
                before.update({t.id: t.finish is None for t in engine.tree})
                engine.cancel(engine.tree[name])
                engine.cancel(engine.tree[name])

        _, task = asyncio.run(disturbed(cancel, at, backend))
        done = task.result()
        below = {t for t, alive in before.items() if alive and f"{t}.".startswith(f"{name}.")}
        stopped = {t.id for t in done.tree if t.finish == "cancelled"}
        hit += bool(below)
        assert below <= stopped, at
        # Besides, the losers of the race, and who went on in the cancelled thread.
        others = ("0.2", "0.3", "0.4", "0.1") if name == "0.1.3" else ("0.2", "0.3", "0.4")
        assert all(t.startswith(others) for t in stopped - below), at
        if name == "0" and below:
            assert done.error == "ThreadCancelled: thread 0 was cancelled"
            assert done.tree.root.finish == "cancelled"
        else:
            assert (done.error, done.limit) == (None, None)
            assert done.result is not None and done.result.thread == "0"
    assert hit > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_is_heard_while_a_thread_is_cancelled(backend: type[ScriptedBackend]) -> None:
    def both(engine: Engine, task: "asyncio.Task[Trajectory]") -> None:
        for thread in list(engine.tree):
            engine.cancel(thread)
        task.cancel()

    for at in range(1, points(backend)):
        _, task = asyncio.run(disturbed(both, at, backend))
        assert task.cancelled(), at


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [None, "0", "0.0"])
def test_the_deadline_at_any_point(name: str | None, backend: type[ScriptedBackend]) -> None:
    def now(engine: Engine, task: object) -> None:
        if name and name in engine.tree:
            engine.cancel(engine.tree[name])
        engine.extend(Budget(seconds=0))

    outcomes = set()
    for at in range(1, points(backend)):
        _, task = asyncio.run(disturbed(now, at, backend))
        done = task.result()
        outcomes.add(done.error)
        if name != "0" and at < points(backend) - 3:
            assert done.limit == "seconds"
    expected = {"the run reached budget.seconds=0"}
    if name == "0":
        assert outcomes <= {*expected, "ThreadCancelled: thread 0 was cancelled", None}
    else:
        assert expected <= outcomes <= {*expected, None}


def test_random_disturbances_end_in_order() -> None:
    rng = random.Random(0)

    async def main() -> None:
        backend = rng.choice(BACKENDS)
        seen = Run(nested, backend(script, chunk=rng.choice([1, 8, 64])))
        task = asyncio.create_task(seen.go())
        await asyncio.sleep(0)
        assert seen.engine is not None
        for _ in range(rng.randint(1, 5)):
            await turns(rng.randint(0, 15))
            match rng.randrange(4):
                case 0:
                    seen.engine.cancel(rng.choice(list(seen.engine.tree)))
                case 1:
                    seen.engine.extend(Budget(total_tokens=rng.randint(0, 200)))
                case 2:
                    seen.engine.extend(Budget(seconds=rng.choice([0, 1])))
                case _:
                    task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            done = task.result()
            assert (done.result is None) == (done.error is not None)

    for _ in range(300):
        asyncio.run(main())
