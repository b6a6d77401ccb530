"""`reason serve` in front of a stock SGLang server, through OpenAI's own client."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import openai
import pytest

from tests.served import serving_command
from tests.test_sglang import running

QUESTION = [{"role": "user", "content": "the quick brown fox"}]


@pytest.fixture(scope="module")
def served(chatter_server: str) -> Iterator[str]:
    with serving_command("chatter", "-b", chatter_server.replace("http", "sglang")) as (url, _):
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
    tokens: Counter[str] = Counter()
    for event in events:
        if event["event"] == "tokens" and event["origin"] == "sampled":
            written[event["thread"]] = written.get(event["thread"], "") + event.get("text", "")
            tokens[event["thread"]] += len(event.get("ids", ()))
    assert set(spoken) == set(written) == {"0.0", "0.1", "0.2", "0.3"}
    for name, text in spoken.items():
        said = text.replace(f"\n[{name}] ", "").replace(f"[{name}] ", "")
        assert said == written[name].removesuffix("<eos>")
    usage = chunks[-1].usage
    assert usage and usage.completion_tokens == tokens.total()
    last = chunks[-1].reason  # type: ignore[attr-defined]
    assert last["account"]["total_tokens"] == tokens.total()
    assert usage.to_dict()["reason"]["critical_path"] == max(tokens.values())


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
    told = sum(len(c.logprobs.content or ()) for c in two.choices if c.logprobs)
    ends = sum(choice.finish_reason == "stop" for choice in two.choices)
    assert two.usage and told == two.usage.completion_tokens - ends, "all but the end of a text"


@pytest.mark.parametrize("model", ["chatter", "chatter+self_consistency"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "kind, text, why",
    [
        ("json", '{"type": "nonsense"}', 'Unsupported type "nonsense"'),
        ("json", '{"$ref": "#/nowhere"}', "Cannot find field nowhere in #/nowhere"),
        ("regex", "([", "Unclosed '['"),
        ("ebnf", "root ::= nothing", 'Rule "nothing" is not defined'),
    ],
)
def test_a_grammar_that_cannot_be_used_is_a_mistake_of_the_request(
    client: openai.OpenAI, model: str, stream: bool, kind: str, text: str, why: str
) -> None:
    grammar = {"kind": kind, "text": text}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=model,
            messages=QUESTION,
            stream=stream,
            extra_body={"reason": {"sampling": {"grammar": grammar, "max_tokens": 9}}},
        )
    assert "- the grammar cannot be used: " in caught.value.message
    assert why in caught.value.message and "response_format" in caught.value.message
    assert ".cc" not in caught.value.message


def test_a_prompt_that_does_not_fit(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "x y " * 10_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chatter", messages=long)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_takes_its_threads_along(
    served: str, chatter_server: str, stream: bool
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
            if await asyncio.to_thread(running, chatter_server) >= 4:
                break
            await asyncio.sleep(0.01)
        assert running(chatter_server) >= 4, "some may have ended, but not as soon as that"
        if stream:
            (await asked).close()
        else:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    assert await asyncio.to_thread(seconds_until_idle, chatter_server) < 1.0


async def test_a_reader_that_does_not_read_holds_up_nobody(
    served: str, chatter_server: str
) -> None:
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
    await asyncio.to_thread(seconds_until_idle, chatter_server)
