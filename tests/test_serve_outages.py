"""`reason serve` when its model's server goes, and when it is told to go itself."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import openai
import pytest

from reason.backends.scripted import ScriptedBackend
from reason.backends.sglang_launch import free_port
from tests.served import hosting, service, serving_command
from tests.test_serve_sglang import QUESTION, seconds_until_idle
from tests.test_sglang import running


@asynccontextmanager
async def relay(to: str, port: int) -> AsyncIterator[None]:
    """A port that leads to a server; when it is gone, connections to it are refused."""
    host, _, there = to.removeprefix("http://").partition(":")
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, out = await asyncio.open_connection(host, int(there))
        await asyncio.gather(pump(reader, out), pump(far, writer))

    server = await asyncio.start_server(meet, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_a_backend_that_is_down_and_comes_back(chatter_server: str) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        async with relay(chatter_server, port):
            command = serving_command("chatter", "-b", f"sglang://127.0.0.1:{port}")
            url, _ = await asyncio.to_thread(stack.enter_context, command)
            client = await stack.enter_async_context(
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            )
            assert await few_tokens(client) == 4
            assert json.loads(await asyncio.to_thread(got, f"{url}/health")) == {
                "status": "ok",
                "model": "chatter",
                "in_flight": 0,
            }
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as caught:
                await few_tokens(client, stream=stream)
            assert caught.value.status_code == 503
            assert caught.value.code == "backend_unavailable"
            assert f"http://127.0.0.1:{port}" in caught.value.message
        with pytest.raises(HTTPError) as unhealthy:
            await asyncio.to_thread(got, f"{url}/health")
        assert unhealthy.value.code == 503
        async with relay(chatter_server, port):
            assert await few_tokens(client) == 4


def got(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


async def few_tokens(client: openai.AsyncOpenAI, stream: bool = False) -> int:
    found = await client.chat.completions.create(
        model="chatter",
        messages=QUESTION,  # type: ignore[arg-type]
        max_tokens=4,
        stream=stream,
    )
    return int(found.usage.completion_tokens)


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("model", ["scripted", "self_consistency", "apr"])
async def test_a_server_that_goes_tells_its_streams(model: str, events: bool) -> None:
    held = service(ScriptedBackend(lambda context, params: "ab" * 9000, delay=0.01))
    body = {"model": model, "stream": True, "messages": QUESTION, "reason": {"events": events}}
    async with aiohttp.ClientSession() as session:
        async with hosting(held) as url:
            answer = await session.post(f"{url}/v1/chat/completions", json=body)
            await answer.content.readline()
        said = (await answer.read()).decode().split("\n\n")
    error = {
        "message": "the server is shutting down",
        "type": "service_unavailable_error",
        "param": None,
        "code": "shutting_down",
    }
    assert json.loads(said[-3].removeprefix("data: ")) == {"error": error}
    assert said[-2:] == ["data: [DONE]", ""]


def test_ctrl_c_ends_what_is_going_on(chatter_server: str) -> None:
    told: list[str] = []
    words = ("-b", chatter_server.replace("http", "sglang"))
    with serving_command("chatter", *words) as (url, process):

        def read() -> None:
            body = {
                "model": "chatter",
                "messages": QUESTION,
                "stream": True,
                "n": 8,
                "temperature": 1,
            }
            request = Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
            with urlopen(request, timeout=60) as answer:
                told.extend(line.decode() for line in answer)

        thread = threading.Thread(target=read)
        thread.start()
        while running(chatter_server) < 4:  # some may have ended, but not all as soon as that
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        thread.join()
    assert told[-2] == "data: [DONE]\n"
    assert json.loads(told[-4].removeprefix("data: ")) == {
        "error": {
            "message": "the server is shutting down",
            "type": "service_unavailable_error",
            "param": None,
            "code": "shutting_down",
        }
    }
    assert seconds_until_idle(chatter_server) < 1.0
