"""`reason serve` in front of a stock SGLang server, through OpenAI's own client."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import aiohttp
import openai
import pytest

from reason.backends.sglang_launch import free_port
from tests import tiny
from tests.gateway import gateway
from tests.served import serving_command
from tests.serving import serving
from tests.test_sglang import running

QUESTION = [{"role": "user", "content": "the quick brown fox"}]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of a chat model that says anything, and hardly ever ends."""
    folder: Path = tmp_path_factory.mktemp("general")
    tiny.general(folder)
    with serving(str(folder)) as server:
        yield server.url


@pytest.fixture(scope="module")
def served(upstream: str) -> Iterator[str]:
    with serving_command("chatter", "-b", upstream.replace("http", "sglang")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0) as client:
        yield client


def seconds_until_idle(url: str, limit: float = 10.0) -> float:
    """Until the server says that it holds no request."""
    began = time.monotonic()
    while running(url):
        assert time.monotonic() - began < limit
        time.sleep(0.02)
    return time.monotonic() - began


def test_what_is_served_as_a_model(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:3] == ["chatter", "chatter+apr", "chatter+threadweaver"]
    assert {"apr", "pdr", "single"} < set(names)
    assert client.models.retrieve("chatter+pdr").id == "chatter+pdr"


def test_a_stream_and_an_object_say_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="chatter", messages=QUESTION, max_completion_tokens=24, temperature=0
    )
    chunks = list(
        client.chat.completions.create(
            model="chatter",
            messages=QUESTION,
            max_completion_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert whole.usage and chunks[-1].usage
    assert text == whole.choices[0].message.content and text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert whole.choices[0].finish_reason == "length"
    said = {**whole.usage.to_dict()}
    assert said.pop("prompt_tokens_details", None) is not None
    again = {**chunks[-1].usage.to_dict()}
    assert again.pop("prompt_tokens_details", None) is not None
    assert said == again
    assert (whole.usage.completion_tokens, said["completion_tokens_details"]) == (
        24,
        {"reasoning_tokens": 0},
    )
    assert len(chunks) > 10, "it came at once"


def test_a_vote_thinks_aloud_and_counts_exactly(client: openai.OpenAI, served: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model="chatter+self_consistency",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"reason": {"n": 4, "sampling": {"max_tokens": 20}, "events": True}},
        )
    )
    spoken: dict[str, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            said = getattr(choice.delta, "reasoning_content", None)
            if said:
                name = chunk.reason["thread"]  # type: ignore[attr-defined]
                spoken[name] = spoken.get(name, "") + said
    events = [e for c in chunks for e in (getattr(c, "reason", None) or {}).get("events", ())]
    written: dict[str, str] = {}
    tokens = 0
    for event in events:
        if event["event"] == "tokens" and event["origin"] == "sampled":
            written[event["thread"]] = written.get(event["thread"], "") + event.get("text", "")
            tokens += len(event.get("ids", ()))
    assert set(spoken) == set(written) == {"0.0", "0.1", "0.2", "0.3"}
    for name, text in spoken.items():
        assert text.replace(f"\n[{name}] ", "").replace(f"[{name}] ", "") == written[name]
    usage = chunks[-1].usage
    assert usage and usage.completion_tokens == tokens == 80
    last = chunks[-1].reason  # type: ignore[attr-defined]
    assert last["account"]["total_tokens"] == 80
    assert usage.to_dict()["reason"]["critical_path"] == 20


def test_structured_output_seed_stop_and_logprobs(client: openai.OpenAI) -> None:
    schema = {"name": "word", "schema": {"enum": ["abc", "de"]}}
    form = client.chat.completions.create(
        model="chatter",
        messages=QUESTION,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert json.loads(form.choices[0].message.content or "") in ("abc", "de")
    plain = client.completions.create(
        model="chatter", prompt="the quick", max_tokens=12, temperature=0, logprobs=0
    ).choices[0]
    assert plain.logprobs and len(plain.logprobs.tokens or ()) == 12
    cut = plain.text[4:6]
    stopped = client.completions.create(
        model="chatter", prompt="the quick", max_tokens=12, temperature=0, stop=cut
    ).choices[0]
    assert (stopped.text, stopped.finish_reason) == (plain.text[: plain.text.index(cut)], "stop")
    two = client.chat.completions.create(
        model="chatter", messages=QUESTION, max_tokens=30, n=2, temperature=1, logprobs=True
    )
    assert [choice.index for choice in two.choices] == [0, 1]
    assert two.choices[0].message.content != two.choices[1].message.content
    for choice in two.choices:
        assert choice.logprobs and choice.logprobs.content
        assert "".join(t.token for t in choice.logprobs.content) == choice.message.content


def test_a_prompt_that_does_not_fit(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "x y " * 10_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chatter", messages=long)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_takes_its_threads_along(
    served: str, upstream: str, stream: bool
) -> None:
    body = {
        "model": "chatter+self_consistency",
        "messages": QUESTION,
        "stream": stream,
        "reason": {"n": 8, "sampling": {"max_tokens": 4000}},
    }
    async with aiohttp.ClientSession() as session:
        asked = asyncio.create_task(session.post(f"{served}/v1/chat/completions", json=body))
        for _ in range(200):
            if await asyncio.to_thread(running, upstream) >= 4:
                break
            await asyncio.sleep(0.01)
        assert running(upstream) >= 4, "some may have ended, but not as soon as that"
        if stream:
            (await asked).close()
        else:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    assert await asyncio.to_thread(seconds_until_idle, upstream) < 1.0


async def test_a_reader_that_does_not_read_holds_up_nobody(served: str, upstream: str) -> None:
    body = {"model": "chatter", "messages": QUESTION, "stream": True, "max_tokens": 6000}
    lazy = [
        await asyncio.open_connection("127.0.0.1", int(served.rpartition(":")[2]), limit=1 << 10)
        for _ in range(20)
    ]
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    for _, writer in lazy:
        writer.write(head.encode() + data)
        await writer.drain()
    async with openai.AsyncOpenAI(base_url=f"{served}/v1", api_key="none") as client:
        answer = await client.chat.completions.create(
            model="chatter",
            messages=QUESTION,
            max_tokens=20,  # type: ignore[arg-type]
        )
        assert answer.usage and answer.usage.completion_tokens == 20
    for _, writer in lazy:
        writer.close()
    await asyncio.to_thread(seconds_until_idle, upstream)


def test_a_backend_that_is_down_and_comes_back(upstream: str) -> None:
    port = free_port()
    with gateway(upstream) as front:
        words = ("-b", f"sglang://{front.url.removeprefix('http://').removesuffix('/v1')}")
        with serving_command("chatter", *words) as (url, _):
            front.missing = ("/generate",)
            assert port
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                with pytest.raises(openai.APIStatusError) as caught:
                    client.chat.completions.create(model="chatter", messages=QUESTION, max_tokens=4)
                assert caught.value.status_code == 502
                front.missing = ()
                found = client.chat.completions.create(
                    model="chatter", messages=QUESTION, max_tokens=4
                )
                assert found.usage and found.usage.completion_tokens == 4


def test_ctrl_c_ends_what_is_going_on(upstream: str) -> None:
    told: list[str] = []
    with serving_command("chatter", "-b", upstream.replace("http", "sglang")) as (url, process):

        def read() -> None:
            body = {"model": "chatter", "messages": QUESTION, "stream": True, "max_tokens": 6000}
            request = urlopen_json(f"{url}/v1/chat/completions", body)
            told.extend(line.decode() for line in request)

        thread = threading.Thread(target=read)
        thread.start()
        while running(upstream) != 1:
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
    assert seconds_until_idle(upstream) < 1.0


def urlopen_json(url: str, body: object):  # type: ignore[no-untyped-def]
    from urllib.request import Request

    return urlopen(Request(url, json.dumps(body).encode()), timeout=60)


def test_health_tells_of_the_backend(served: str) -> None:
    with urlopen(f"{served}/health", timeout=10) as answer:
        assert json.load(answer) == {"status": "ok", "model": "chatter", "in_flight": 0}
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{served}/none", timeout=10)
    assert caught.value.code == 404
