"""A chat whose turns run on `reason serve`: the same threads, the same steering, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reason.backends.base import Backend
from reason.chat.plain import answer_lines
from reason.chat.remote import RemoteHost
from reason.chat.run import STOPPED
from reason.chat.session import Session
from reason.errors import BackendError, UsageError
from reason.record import read
from tests.chatting import QUESTION, endless, general, host, until
from tests.oracle import oracle
from tests.served import hosting, service


@asynccontextmanager
async def chatting(
    model: Backend, folder: Path | None = None, **settings: Any
) -> AsyncIterator[Session]:
    """A session on a server of that model."""
    async with hosting(service(model)) as url:
        remote = await asyncio.to_thread(RemoteHost, url.replace("http://", "reason://"))
        async with Session(remote, settings, folder=folder) as session:
            yield session


async def test_a_turn_on_a_server_is_the_same_as_here(tmp_path: Path) -> None:
    settings = {"controller": "apr", "width": "4", "budget": {"total_tokens": "4k"}}
    async with chatting(oracle(), tmp_path, **settings) as chat:
        there = await chat.ask(QUESTION).runs[0].over()
    async with Session(host(), settings) as chat:
        here = await chat.ask(QUESTION).runs[0].over()
    assert there.ending == here.ending and there.reply == here.reply
    assert {n: s.text for n, s in there.texts.scripts.items()} == {
        n: s.text for n, s in here.texts.scripts.items()
    }
    for name in ("critical_path", "total_tokens", "threads", "longest_sequence"):
        assert there.figures[name] == here.figures[name]
    header, events = read(tmp_path / "turn-1.jsonl")
    assert header["method"] == "apr" and there.ending and list(events)[-1] == there.ending.note()


async def test_threads_on_a_server_are_steered() -> None:
    backend = general(endless, delay=0.02, chunk=2)
    async with chatting(backend, controller="self_consistency", n="3") as chat:
        (run,) = chat.ask("?").runs
        lines = run.watch.lines
        await until(lambda: "0.2" in lines and lines["0.2"].tokens > 10)
        await run.steer.cancel("0.0")
        await until(lambda: lines["0.0"].finish == "cancelled")
        script = run.texts.scripts["0.1"]
        kept, _ = script.cut_at(script.step(8, 1))
        made = await run.branch("0.1", "HINT", kept)
        await until(lambda: made in lines and lines[made].tokens)
        assert run.texts.scripts[made].kept == kept
        assert await run.steer.pin("0.1", "42") == "42"
        with pytest.raises(BackendError, match=r"no thread is called '0\.9'"):
            await run.steer.cancel("0.9")
        await run.steer.extend({"total_tokens": "1"})
        await run.over()
        assert run.ending and (run.ending.answer, run.ending.limit) == ("42", "total_tokens")
        with pytest.raises(BackendError, match="no run"):
            await run.steer.cancel("0.1")
    assert backend.running == 0


async def test_stopping_a_turn_leaves_nothing_running_on_the_server() -> None:
    backend = general(endless, delay=0.02)
    async with chatting(backend, controller="single") as chat:
        (run,) = chat.ask("?").runs
        await until(lambda: backend.running)
        await chat.stop()
        assert run.ending and run.ending.error == STOPPED
        await until(lambda: not backend.running)


async def test_what_a_server_refuses_is_said() -> None:
    async with chatting(oracle(), controller="apr") as chat:
        run = await chat.ask("who are you?").runs[0].over()
        assert run.ending and "reads Countdown problems only" in str(run.ending.error)
        assert chat.messages() == []
        again = await chat.ask(QUESTION).runs[0].over()
        assert again.ending and again.ending.verified


async def test_a_server_that_goes_away_ends_the_turn_and_keeps_the_recording(
    tmp_path: Path,
) -> None:
    held = service(general(endless, delay=0.02))
    async with hosting(held) as url:
        remote = await asyncio.to_thread(RemoteHost, url.replace("http://", "reason://"))
        chat = Session(remote, {"controller": "single"}, folder=tmp_path)
        (run,) = chat.ask("?").runs
        await until(lambda: run.watch.tokens > 20)
    await run.over()
    assert run.ending and run.ending.error == "BackendError: the server is shutting down"
    told = answer_lines(chat.exchanges[0])
    assert told == ["no answer: the server is shutting down"]
    _, events = read(tmp_path / "turn-1.jsonl")
    assert sum(1 for _ in events) > 3
    gone = chat.ask("?").runs[0]
    await gone.over()
    assert gone.ending and "cannot connect" in str(gone.ending.error)
    await chat.close()


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError, match="reason://HOST:PORT, got"):
        RemoteHost("reason://nowhere")
    with pytest.raises(BackendError, match=r"cannot reach http://127\.0\.0\.1:9"):
        RemoteHost("reason://127.0.0.1:9")


async def test_it_is_asked_with_the_method_that_suits_its_model() -> None:
    async with chatting(oracle()) as chat:
        assert chat.host is not None and chat.host.grammar == "countdown"
        assert (await chat.ask(QUESTION).runs[0].over()).job.method == "apr"
    async with chatting(general(lambda context, params: "hello")) as chat:
        run = await chat.ask("hi").runs[0].over()
        assert (run.job.method, run.reply) == ("single", "hello")
