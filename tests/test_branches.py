"""Threads that a person forks from outside a method, and answers that are pinned."""

import asyncio
from dataclasses import replace

import pytest

from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import Unsupported
from reason.events import Noted
from reason.ledger import Budget
from reason.types import Prompt, Result, SamplingParams
from tests.runs import Run

PLAIN = SamplingParams()


def script(context: str, params: SamplingParams) -> str:
    return "seen " + context[-8:] + " " + "x" * 8


async def chains(engine: Engine, prompt: Prompt) -> Result:
    """Two chains, the first of which is the answer."""
    root = engine.open(prompt)
    both = [engine.fork(root) for _ in range(2)]
    await engine.map(lambda chain: engine.generate(chain, PLAIN), both)
    engine.join(root, both)
    return Result(both[0].text, both[0].id)


async def until_written(run: Run, thread: str, tokens: int) -> Engine:
    while run.engine is None or thread not in run.engine.tree:
        await asyncio.sleep(0)
    while run.engine.tree[thread].clock < tokens:
        await asyncio.sleep(0)
    return run.engine


async def test_a_branch_goes_on_from_a_point_with_a_hint_and_the_run_waits_for_it() -> None:
    run = Run(chains, ScriptedBackend(script, chunk=2))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    chain = engine.tree["0.1"]
    branch = engine.branch(chain, " HINT", PLAIN, kept=chain.length - 2)
    done = await task
    assert done.error is None and done.result is not None and done.result.thread == "0.0"
    assert branch.parent is chain and branch.kept < chain.length
    assert branch.text.startswith(" HINTseen ") and branch.finish == "eos"
    assert Noted(thread=branch.id, name="hint", value=" HINT") in [
        Noted(thread=n.thread, name=n.name, value=n.value) for n in done.tree.notes
    ]
    assert all(thread.finish for thread in done.tree)


async def test_a_branch_of_an_ended_run_is_written_too() -> None:
    run = Run(chains, ScriptedBackend(script, chunk=2))
    done = await run.go()
    assert run.engine is not None
    branch = run.engine.branch(done.tree["0.1"], "more", PLAIN)
    await run.engine.branches.over()
    assert branch.finish == "eos" and branch.text.startswith("moreseen ")


async def test_a_branch_that_is_killed_ends_alone() -> None:
    run = Run(chains, ScriptedBackend(script, chunk=1))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    branch = engine.branch(engine.tree["0.0"], "", PLAIN)
    await asyncio.sleep(0)
    engine.cancel(branch)
    done = await task
    assert branch.finish == "cancelled"
    assert done.error is None and [done.tree[i].finish for i in ("0.0", "0.1")] == ["eos", "eos"]


async def test_a_stopped_run_stops_its_branches() -> None:
    backend = ScriptedBackend(lambda context, params: "x" * 500, chunk=1)
    run = Run(chains, backend)
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    branch = engine.branch(engine.tree["0.0"], "h", PLAIN)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert branch.finish == "cancelled"
    assert all(thread.finish for thread in engine.tree)


async def test_branches_spend_from_the_budget_of_the_run() -> None:
    run = Run(chains, ScriptedBackend(script, chunk=1), budget=Budget(threads=3))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    with pytest.raises(Exception, match=r"budget\.threads=3"):
        engine.branch(engine.tree["0.0"], "h", PLAIN)
    assert (await task).limit == "threads"


async def test_a_pinned_answer_is_the_result_whatever_the_method_finds() -> None:
    run = Run(chains, ScriptedBackend(script, chunk=1))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    engine.pin(engine.tree["0.1"], "mine")
    engine.pin(engine.tree["0.0"], "yours")
    done = await task
    assert done.result == Result("yours", "0.0", {"pinned": True})


async def test_a_pinned_answer_outlives_a_run_that_is_stopped() -> None:
    run = Run(chains, ScriptedBackend(lambda context, params: "x" * 500, chunk=1))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    engine.pin(engine.tree["0.1"], "enough")
    engine.cancel(engine.tree.root)
    done = await task
    assert done.error is None and done.result == Result("enough", "0.1", {"pinned": True})


async def test_a_thread_that_is_a_chat_cannot_be_branched() -> None:
    chat = ScriptedBackend(script, chunk=1)
    chat.info = replace(chat.info, token_ids=False)
    run = Run(chains, chat)
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    with pytest.raises(Unsupported, match="answers chats"):
        engine.branch(engine.tree["0.0"], "h", PLAIN)
    await task


async def test_a_branch_that_is_stopped_before_it_began_is_closed_too() -> None:
    run = Run(chains, ScriptedBackend(lambda context, params: "x" * 500, chunk=1))
    task = asyncio.create_task(run.go())
    engine = await until_written(run, "0.1", 4)
    branch = engine.branch(engine.tree["0.0"], "h", PLAIN)
    task.cancel()
    await asyncio.wait([task])
    assert branch.finish == "cancelled" and engine.branches.open == set()
