"""A viewer of threads: the events of a run over the wire, and steering it by its id."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from reason.account import Ending
from reason.backends.scripted import ScriptedBackend
from reason.events import Event, Noted, Tokens, from_json
from reason.tree import ThreadTree
from reason.types import SamplingParams
from tests.served import hosting, service
from tests.test_serve_refusals import CHAT, posted


@dataclass
class Viewer:
    """A stream with events, as it is read."""

    url: str
    run: str
    chunks: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        async for line in answer.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                self.chunks.append(chunk)
                told = chunk.get("reason", {}).get("events", ())
                self.events += [from_json(json.dumps(event)) for event in told]
        self.over.set()

    async def steer(self, **body: Any) -> tuple[int, dict[str, Any]]:
        status, said, _ = await posted(self.url, body, f"/v1/reason/runs/{self.run}")
        return status, said

    async def written(self, thread: str, count: int) -> None:
        """Wait until that thread has so many characters."""
        while True:
            text = "".join(
                e.text for e in self.events if isinstance(e, Tokens) and e.thread == thread
            )
            if len(text) >= count:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def viewing(backend: ScriptedBackend, **own: Any) -> AsyncIterator[Viewer]:
    body = {**CHAT, "stream": True, "reason": {"events": True, **own}}
    async with (
        hosting(service(backend, threads=8)) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=body) as answer,
    ):
        viewer = Viewer(url, answer.headers["x-reason-run"])
        reading = asyncio.create_task(viewer.read(answer))
        yield viewer
        await asyncio.wait_for(reading, 20)


def endless(context: str, params: SamplingParams) -> str:
    return "abcdefgh" * 5000


async def test_events_add_up_to_the_same_tree_and_the_last_chunk_tells_the_ending() -> None:
    backend = ScriptedBackend(lambda context, params: "so \\boxed{4}")
    async with viewing(backend, controller="self_consistency", n=3) as viewer:
        await viewer.over.wait()
    tree = ThreadTree.replay(viewer.events)
    last = viewer.chunks[-1]["reason"]
    assert [thread.id for thread in tree] == ["0", "0.0", "0.1", "0.2"]
    assert tree.critical_path == last["account"]["critical_path"] == 12
    assert last["account"]["total_tokens"] == 36
    assert Ending(**last["ending"]) == Ending("4", "4", "0.0")
    assert viewer.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {chunk["id"] for chunk in viewer.chunks} == {viewer.run}
    times = [event.at for event in viewer.events]
    assert times == sorted(times)


async def test_a_thread_is_cancelled_and_the_run_is_stopped() -> None:
    backend = ScriptedBackend(endless, delay=0.01)
    own = {"controller": "self_consistency", "n": 2, "sampling": {"max_tokens": 30_000}}
    async with viewing(backend, **own) as viewer:
        await viewer.written("0.1", 20)
        run = {"run": viewer.run}
        assert await viewer.steer(do="cancel", thread="0.1") == (200, {**run, "thread": "0.1"})
        while backend.running > 1:
            await asyncio.sleep(0.01)
        assert await viewer.steer(do="stop") == (200, run)
        await viewer.over.wait()
        assert backend.running == 0
        status, said = await viewer.steer(do="stop")
        assert (status, said["error"]["code"]) == (404, "run_not_found")
    assert {t.id: t.finish for t in ThreadTree.replay(viewer.events)} == {
        "0": "cancelled",
        "0.0": "cancelled",
        "0.1": "cancelled",
    }


async def test_why_there_is_no_answer_is_said_in_a_sentence() -> None:
    async with viewing(ScriptedBackend(endless, delay=0.01)) as viewer:
        await viewer.written("0", 8)
        assert (await viewer.steer(do="stop"))[0] == 200
        await viewer.over.wait()
    last = viewer.chunks[-1]["reason"]
    assert last["ending"]["error"] == last["account"]["error"] == "thread 0 was cancelled"


async def test_a_branch_with_a_hint_a_pinned_answer_and_more_budget() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "as told" if context.endswith("HINT") else "abcdefgh" * 40

    backend = ScriptedBackend(script, delay=0.01)
    async with viewing(backend, budget={"total_tokens": 200}) as viewer:
        await viewer.written("0", 40)
        made = await viewer.steer(do="branch", thread="0", hint="HINT", kept=24)
        assert made == (200, {"run": viewer.run, "thread": "0.0"})
        status, said = await viewer.steer(do="extend", budget={"total_tokens": 1e9})
        assert (status, said["budget"]["total_tokens"]) == (200, 131072), "as the server allows"
        await viewer.written("0.0", 11)
        pinned = await viewer.steer(do="pin", thread="0.0", answer="ours")
        assert pinned == (200, {"run": viewer.run, "thread": "0.0", "answer": "ours"})
        await viewer.over.wait()
    tree = ThreadTree.replay(viewer.events)
    assert len(tree["0"].text) > 200, "that was not the end of it"
    assert (tree["0.0"].kept, tree["0.0"].text) == (24, "HINTas told")
    last = viewer.chunks[-1]["reason"]
    assert (last["ending"]["answer"], last["ending"]["thread"]) == ("ours", "0.0")
    notes = [(e.thread, e.name, e.value) for e in viewer.events if isinstance(e, Noted)]
    assert notes == [
        ("0.0", "hint", "HINT"),
        ("0", "budget", {"total_tokens": "131072"}),
        ("0.0", "pinned", "ours"),
    ]


async def test_what_cannot_be_steered_says_why() -> None:
    backend = ScriptedBackend(endless, delay=0.01)
    async with viewing(backend, sampling={"max_tokens": 30_000}) as viewer:
        await viewer.written("0", 8)
        for body, message in (
            ({"do": "cancel", "thread": "0.7"}, "no thread is called '0.7'; there is: 0"),
            ({"do": "branch", "thread": "0", "kept": 9**9}, "kept must be in 1.."),
            ({"do": "branch", "thread": "0", "kept": 0}, "kept must be in 1.."),
            (
                {"do": "extend", "budget": {"tokens": 3}},
                "unknown key budget.tokens (did you mean total_tokens?)",
            ),
            ({"do": "extend", "budget": {"depth": -1}}, "budget.depth must be 0 or more"),
            ({"do": "dance"}, "Invalid value 'dance'"),
            ({"do": "stop", "thread": "0"}, "unknown field `thread`"),
            ({}, "missing required field `do`"),
        ):
            status, said = await viewer.steer(**body)
            assert status == 400 and message in said["error"]["message"]
        for kept in (None, 4):
            assert (await viewer.steer(do="branch", thread="0", kept=kept))[0] == 200
        assert (await viewer.steer(do="pin", thread="0"))[0] == 200, "what it wrote so far"
        assert (await viewer.steer(do="stop"))[0] == 200
    assert viewer.over.is_set()
    assert viewer.chunks[-1]["reason"]["ending"]["answer"].startswith("abcdefgh")
