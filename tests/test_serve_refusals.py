"""What is refused, in OpenAI's shape and with what to do instead; keys and limits."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError, UsageError
from reason.serve.service import Service
from reason.types import SamplingParams
from tests.oracle import oracle
from tests.served import hosting, service

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "scripted", "prompt": "hi"}
ONE = "is for methods of one thread: single, ape; apr has stop strings and answers of its own"


def talker(**tables: Any) -> Service:
    return service(ScriptedBackend(lambda context, params: "hi \\boxed{1}"), **tables)


async def posted(
    url: str, body: object, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, dict[str, Any], Any]:
    """Status, body and headers of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=data, headers=headers) as answer,
    ):
        return answer.status, json.loads(await answer.read()), answer.headers


@pytest.mark.parametrize(
    "own, param, message",
    [
        ({"tools": [{}]}, "tools", "tools is not supported: methods call no tools"),
        ({"tool_choice": "required"}, "tool_choice", "methods call no tools"),
        ({"functions": [{}]}, "functions", "methods call no functions"),
        ({"presence_penalty": 0.5}, "presence_penalty", "there are no penalties"),
        ({"frequency_penalty": -1}, "frequency_penalty", "there are no penalties"),
        ({"logit_bias": {"1": 2}}, "logit_bias", "tokens have no bias"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs", "only the sampled token's"),
        ({"top_logprobs": 0}, "top_logprobs", "top_logprobs is for logprobs=true only"),
        ({"store": True}, "store", "nothing is stored"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "model=MODEL+METHOD"),
        ({"service_tier": "flex"}, "service_tier", "there is one tier"),
        ({"audio": {}}, "audio", "answers are text"),
        ({"stream_options": {}}, "stream_options", "for stream=true only"),
        ({"colour": 1}, "colour", "unknown field `colour`; nothing is ignored in silence"),
        ({"temperature": 3}, "temperature", "Expected `float` <= 2.0"),
        ({"n": 0}, "n", "Expected `int` >= 1"),
        ({"n": 129}, "n", "Expected `int` <= 128"),
        ({"stop": [""]}, "stop", "stop must be without empty strings"),
        ({"stop": list("abcde")}, "stop", "length <= 4"),
        ({"seed": 2**70}, "seed", "Expected `int` <= 9223372036854775807"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "differ"),
        ({"model": "apr", "stop": "x"}, "stop", f"stop {ONE}"),
        ({"model": "apr", "logprobs": True}, "logprobs", f"logprobs {ONE}"),
        (
            {"model": "apr", "response_format": {"type": "json_object"}},
            "response_format",
            f"response_format {ONE}",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "Invalid value 'yaml'"),
        ({"messages": []}, "messages", "length >= 1"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0]", "call no tools"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "content is missing"),
        ({"messages": "hi"}, "messages", "Expected `array`"),
        ({"reason": {"width": 3, "colour": 1}}, None, "unknown key colour"),
        ({"reason": {"controller": "best"}}, "reason.controller", "no method is called 'best'"),
        ({"model": "apr", "reason": {"controller": "pdr"}}, "reason.controller", "leave one out"),
        ({"reason": {"events": 1}}, "reason", "must be true or false"),
        ({"n": 2, "reason": {"events": True}}, "n", "tells of one run"),
        ({"temperature": 1, "reason": {"sampling": {"temperature": 1}}}, "temperature", "twice"),
        ({"reason": {"backends": {}}}, "reason.backends", "the server's configuration does"),
        ({"model": "ape", "reason": {"tuned": "f"}}, "reason.tuned", "names a file"),
        ({"model": "ape", "reason": {"contexts": ["@f"]}}, "reason.contexts", "begins with @"),
        ({"model": "ape", "reason": {"contexts": "@f"}}, "reason.contexts", "a list of texts"),
        ({"model": "pdr", "reason": {"rounds": ["9m"]}}, "reason.rounds[0]", "131072 at most"),
        ({"model": "pdr", "reason": {"rounds": [1] * 1001}}, "reason.rounds", "have 1000 entries"),
        (
            {"model": "pdr", "reason": {"rounds": "1," * 400_000}},
            "reason.rounds",
            "may have 1000 entries in a request, got 400,001",
        ),
        ({"model": "best_of_n"}, None, "no scorer is called 'verifier'"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    own: dict[str, Any], param: str | None, message: str
) -> None:
    async with hosting(talker()) as url:
        status, body, _ = await posted(url, {**CHAT, **own})
    error = body["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"]


async def test_no_more_choices_than_threads() -> None:
    async with hosting(talker(threads=8)) as url:
        assert (await posted(url, {**CHAT, "n": 8}))[0] == 200
        status, body, _ = await posted(url, {**CHAT, "n": 9})
    assert (status, body["error"]["message"]) == (400, "n must be 8 at most on this server, got 9")


@pytest.mark.parametrize(
    "own",
    [
        {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"tools": [], "tool_choice": "none", "presence_penalty": 0, "logit_bias": {}},
        {"safety_identifier": "s", "prompt_cache_key": "k", "parallel_tool_calls": True},
        {"modalities": ["text"], "response_format": {"type": "text"}, "verbosity": "medium"},
        {"temperature": None, "stop": None, "n": None, "reason": None, "seed": None},
    ],
)
async def test_what_asks_for_nothing_is_taken(own: dict[str, Any]) -> None:
    async with hosting(talker()) as url:
        assert (await posted(url, {**CHAT, **own}))[0] == 200


@pytest.mark.parametrize(
    "own, param",
    [
        ({"logprobs": 2}, "logprobs"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
    ],
)
async def test_plain_completions_refuse_by_name_too(own: dict[str, Any], param: str) -> None:
    async with hosting(talker()) as url:
        status, body, _ = await posted(url, {**TEXT, **own}, "/v1/completions")
    assert status == 400
    assert (body["error"]["param"] or "").startswith(param)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 20_000, b'{"model": "\\ud800"}', b"[]"]
)
async def test_what_is_no_json_is_a_mistake_of_the_client(data: bytes) -> None:
    async with hosting(talker()) as url:
        status, body, _ = await posted(url, data)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_an_unknown_model_path_or_run() -> None:
    async with hosting(talker()) as url:
        status, body, _ = await posted(url, {**CHAT, "model": "gpt+apr"})
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        assert "there is scripted, scripted+METHOD and METHOD" in body["error"]["message"]
        status, body, _ = await posted(url, {"do": "stop"}, "/v1/reason/runs/chatcmpl-1")
        assert (status, body["error"]["code"]) == (404, "run_not_found")
        status, body, _ = await posted(url, {}, "/v1/embeddings")
        assert (status, body["error"]["message"]) == (
            404,
            "POST /v1/embeddings: Not Found; see /openapi.json for what there is",
        )
        status, body, headers = await posted(url, {}, "/v1/models")
        assert (status, set(headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


@pytest.mark.parametrize(
    "own",
    [
        {"model": "x y" * 4000},
        {"response_format": {"type": "z" * 10_000}},
        {"reason": {"width": "z" * 10_000}},
        {"reason": {"z" * 10_000: 1}},
        {"reason": {"events": "x 'y\" " * 4000}},
        {"reason": {"budget": [1] * 5000}},
        {"reason": {"syntax": "it's" * 4000}},
        {"reason": {"sampling": {"temperature": {"a": ["b\n"] * 5000}}}},
        {"messages": [{"role": "z" * 10_000, "content": "hi"}]},
    ],
)
async def test_what_is_wrong_is_shown_in_part_where_it_is_long(own: dict[str, Any]) -> None:
    async with hosting(talker()) as url:
        status, body, _ = await posted(url, {**CHAT, **own})
        short = await posted(url, {**CHAT, "model": "best"})
    assert status in (400, 404) and "…" in body["error"]["message"]
    assert len(body["error"]["message"]) < 500 and len(body["error"]["param"] or "") <= 120
    assert "…" not in short[1]["error"]["message"], "names that there are are all told"


async def test_what_a_countdown_model_does_not_read() -> None:
    async with hosting(service(oracle())) as url:
        status, body, _ = await posted(url, {**CHAT, "model": "apr"})
    assert status == 400 and "reads Countdown problems only" in body["error"]["message"]


async def test_an_answer_in_other_words_has_no_tokens_to_tell_of() -> None:
    asked = {"model": "oracle", "messages": [{"role": "user", "content": "make 24 from 3 5 7 8"}]}
    async with hosting(service(oracle())) as url:
        status, body, _ = await posted(url, {**asked, "logprobs": True})
        own = {"events": True, "sampling": {"max_tokens": 4}}
        _, told, _ = await posted(url, {**asked, "reason": own})
    assert (status, body["error"]["param"]) == (400, "logprobs")
    assert "reason.events" in body["error"]["message"]
    assert any(event.get("logprobs") for event in told["reason"]["events"]), "as it says"


async def test_keys_open_it_and_are_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nsecret-one\n\nsecret-two\n")
    caplog.set_level(logging.DEBUG)
    async with hosting(talker(api_keys=str(file))) as url:
        for given, status in (
            ({}, 401),
            ({"Authorization": "Bearer secret-thr"}, 401),
            ({"Authorization": "secret-one"}, 401),
            ({"Authorization": "Bearer secret-one"}, 200),
            ({"Authorization": "bearer secret-two"}, 200),
        ):
            answer = await posted(url, CHAT, **given)
            assert answer[0] == status
            if status == 401:
                assert answer[1]["error"]["code"] == "invalid_api_key"
        async with aiohttp.ClientSession() as session:
            for path, status in (("/v1/models", 401), ("/metrics", 401), ("/health", 200)):
                async with session.get(url + path) as response:
                    assert response.status == status
    with pytest.raises(UsageError, match="cannot read the keys in"):
        talker(api_keys=str(tmp_path / "none"))
    out, error = capfd.readouterr()
    assert "secret" not in out + error + caplog.text


async def test_more_requests_than_there_is_room_for() -> None:
    go = asyncio.Event()

    async def script(context: str, params: SamplingParams) -> str:
        await go.wait()
        return "done"

    held = service(ScriptedBackend(script), requests=2)
    async with hosting(held) as url:
        first = [asyncio.create_task(posted(url, CHAT)) for _ in range(2)]
        while held.limits.in_flight < 2:
            await asyncio.sleep(0.01)
        status, body, headers = await posted(url, CHAT)
        assert (status, body["error"]["type"]) == (429, "rate_limit_error")
        assert headers["Retry-After"] == "1"
        go.set()
        assert [answer[0] for answer in await asyncio.gather(*first)] == [200, 200]
        assert (await posted(url, CHAT))[0] == 200
    assert held.limits.in_flight == 0


async def test_limits_of_the_server_bound_what_may_be_asked_for() -> None:
    async def script(context: str, params: SamplingParams) -> str:
        return "x" * 500

    held = service(ScriptedBackend(script), threads=4, total_tokens=100, seconds=5.0, body=5000)
    async with hosting(held) as url:
        budget = {"total_tokens": 1e6, "threads": 1000, "critical_path": 60}
        own = {"controller": "self_consistency", "n": 50, "budget": budget}
        _, wide, _ = await posted(url, {**CHAT, "reason": own})
        usage = wide["usage"]
        assert usage["reason"]["threads"] == 4 and usage["reason"]["critical_path"] <= 60
        assert 100 <= usage["completion_tokens"] <= 100 + 3 * 8, "a chunk of each thread at most"
        _, many, _ = await posted(url, {**CHAT, "n": 4})
        assert many["usage"]["completion_tokens"] == 100
        assert {choice["finish_reason"] for choice in many["choices"]} == {"length"}
        status, body, _ = await posted(url, {**CHAT, "user": "x" * 6000})
        assert (status, body["error"]["code"]) == (413, "request_too_large")


class Down(ScriptedBackend):
    """A model whose server is gone, for a while."""

    gone = True

    async def generate(self, ids: Any, params: SamplingParams) -> Any:
        if self.gone:
            raise BackendError("http://10.0.0.1:1: cannot connect (Connection refused)")
        async for chunk in super().generate(ids, params):
            yield chunk


@pytest.mark.parametrize("model", ["scripted", "self_consistency", "apr", "pdr"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_backend_that_is_down_is_503_and_then_it_is_back(model: str, stream: bool) -> None:
    backend = Down(lambda context, params: "hi \\boxed{1}")
    async with hosting(service(backend)) as url:
        status, body, headers = await posted(url, {**CHAT, "model": model, "stream": stream})
        assert (status, body["error"]["code"]) == (503, "backend_unavailable")
        assert "Connection refused" in body["error"]["message"]
        assert headers["Retry-After"] == "1"
        backend.gone = False
        assert (await posted(url, {**CHAT, "model": model}))[0] == 200
