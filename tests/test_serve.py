"""What a client reads of a run: the answer as it is written, threads beside it, what it cost."""

from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from reason.backends.scripted import ScriptedBackend
from reason.types import SamplingParams
from tests.oracle import oracle
from tests.served import client_of, service

HELLO: Any = [{"role": "user", "content": "hello?"}]
COUNTDOWN: Any = [{"role": "user", "content": "make 24 from 3 5 7 8"}]
Heard = list[tuple[str, str, str | None]]


def says(text: str, **options: Any) -> ScriptedBackend:
    return ScriptedBackend(lambda context, params: text, chunk=1, **options)


async def heard(client: AsyncOpenAI, model: str, **options: Any) -> tuple[Heard, list[Any]]:
    """Kind, text and thread of all that is streamed, what belongs together put together; and all
    chunks."""
    options = {"messages": HELLO, **options}
    stream = await client.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, **options
    )
    chunks = [chunk async for chunk in stream]
    found: Heard = []
    for chunk in chunks:
        for choice in chunk.choices:
            thread = (getattr(chunk, "reason", None) or {}).get("thread")
            for kind in ("content", "reasoning_content"):
                text = getattr(choice.delta, kind, None)
                if text and found and found[-1][::2] == (kind, thread):
                    found[-1] = (kind, found[-1][1] + text, thread)
                elif text:
                    found.append((kind, text, thread))
    return found, chunks


async def whole(client: AsyncOpenAI, model: str, **options: Any) -> ChatCompletion:
    return await client.chat.completions.create(model=model, **{"messages": HELLO, **options})  # type: ignore[no-any-return]


def usage(prompt: int, sampled: int, reasoning: int, **own: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": sampled,
        "total_tokens": prompt + sampled,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        "reason": own,
    }


async def test_a_model_by_its_name_is_asked_what_the_client_asked() -> None:
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return "Hello you."

    chat: Any = [
        {"role": "developer", "content": "Be kind."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}],
        },
    ]
    async with client_of(service(ScriptedBackend(script, chunk=1))) as client:
        said, chunks = await heard(client, "scripted", messages=chat)
        answer = await whole(client, "scripted", messages=chat)
    assert asked == ["<system>Be kind.</system><user>hello</user>"] * 2
    assert said == [("content", "Hello you.", "0")]
    assert [c.choices[0].delta.content for c in chunks[:3]] == ["", "H", "e"], "as it is written"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[-3:-1]] == [None, "stop"]
    figures = usage(43, 10, 0, critical_path=10, longest_sequence=53, threads=1, peak_threads=1)
    assert (chunks[-1].choices, chunks[-1].usage.to_dict()) == ([], figures)
    assert answer.usage and answer.usage.to_dict() == figures
    assert {c.id for c in chunks} == {chunks[0].id} and answer.id != chunks[0].id
    assert answer.choices[0].to_dict() == {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "message": {"role": "assistant", "content": "Hello you.", "refusal": None},
        "reason": {"thread": "0", "error": None},
    }


@pytest.mark.parametrize("model", ["scripted", "scripted+single", "ape"])
async def test_thinking_is_reasoning_and_what_follows_the_answer(model: str) -> None:
    own = {"contexts": ["A fact."], "parallel": False} if model == "ape" else {}
    backend = says("<think>\nis it 4?</think>\n\nIt is \\boxed{4} </think>.")
    async with client_of(service(backend)) as client:
        said, chunks = await heard(client, model, extra_body={"reason": own})
        answer = await whole(client, model, extra_body={"reason": own})
    assert said == [
        ("reasoning_content", "\nis it 4?", "0"),
        ("content", "It is \\boxed{4} </think>.", "0"),
    ]
    message = answer.choices[0].message.to_dict()
    assert (message["reasoning_content"], message["content"]) == (said[0][1], said[1][1])
    assert chunks[-1].usage.to_dict()["completion_tokens_details"] == {"reasoning_tokens": 26}


async def test_a_vote_shows_its_chains_and_then_the_chosen_one() -> None:
    def script(context: str, params: SamplingParams) -> str:
        assert params.seed is not None
        return "<think>hm</think>so \\boxed{4}"

    async with client_of(service(ScriptedBackend(script))) as client:
        said, chunks = await heard(
            client, "self_consistency", seed=3, extra_body={"reason": {"n": 2}}
        )
        answer = await whole(client, "self_consistency", seed=3, extra_body={"reason": {"n": 2}})
    text = "<think>hm</think>so \\boxed{4}"
    apart = {
        name: "".join(t for kind, t, thread in said if thread == name and kind != "content")
        for name in ("0.0", "0.1")
    }
    assert apart["0.0"].replace("\n[0.0] ", "").removeprefix("[0.0] ") == text
    assert apart["0.1"].replace("\n[0.1] ", "").removeprefix("[0.1] ") == text
    assert said[-1] == ("content", "so \\boxed{4}", "0.0")
    thought = answer.choices[0].message.to_dict()["reasoning_content"]
    assert thought == f"[0.0] {text}\n[0.1] {text}"
    assert answer.choices[0].message.content == "so \\boxed{4}"
    details = {"reasoning_tokens": 2 * len(text) - len("so \\boxed{4}")}
    assert chunks[-1].usage.to_dict()["completion_tokens_details"] == details


async def test_the_last_attempt_of_pdr_is_the_answer_as_it_is_written() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "better \\boxed{5}" if "earlier attempts" in context else "first \\boxed{4}"

    async with client_of(service(ScriptedBackend(script, chunk=1))) as client:
        said, chunks = await heard(client, "pdr", extra_body={"reason": {"rounds": [2], "k": 1}})
    assert said[-1] == ("content", "better \\boxed{5}", "0.2")
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 5
    assert {thread for kind, _, thread in said if kind != "content"} == {"0.0", "0.1"}


async def test_blocks_of_threads_are_reasoning_and_the_text_around_them_the_answer() -> None:
    def script(context: str, params: SamplingParams) -> str:
        if "Solve this" in context:
            return "it is <result>4</result>"
        if "<join>" in context.partition("</user>")[2]:
            return "Together: \\boxed{4}"
        return "I ask. <spawn><task>2+2</task></spawn>"

    async with client_of(service(ScriptedBackend(script, chunk=3))) as client:
        said, chunks = await heard(client, "apr")
        answer = await whole(client, "apr")
    assert answer.choices[0].message.content == "I ask. \n\nTogether: \\boxed{4}"
    content = "".join(text for kind, text, _ in said if kind == "content")
    assert content == answer.choices[0].message.content
    thought = answer.choices[0].message.to_dict()["reasoning_content"]
    assert thought == "<spawn><task>2+2</task></spawn>\n[0.0] it is <result>4</result>"
    assert chunks[-1].usage.to_dict()["completion_tokens_details"] == {"reasoning_tokens": 55}


async def test_of_a_model_with_a_grammar_the_answer_is_shown_at_the_end() -> None:
    async with client_of(service(oracle())) as client:
        said, chunks = await heard(client, "apr", messages=COUNTDOWN)
    *thoughts, last = said
    assert {kind for kind, _, _ in thoughts} == {"reasoning_content"}
    assert last[0] == "content" and last[1].count("<") == 0 and "<spawn>" in thoughts[0][1]
    told = chunks[-1].usage
    written = thoughts[-1][1].partition("<ans>")[2].split()  # one word is one token
    assert told.completion_tokens - told.completion_tokens_details.reasoning_tokens == len(written)


async def test_stop_strings_and_limits_as_openai_has_them() -> None:
    async with client_of(service(says("one two three"))) as client:
        stopped = await whole(client, "scripted", stop=["thr", " tw"])
        short = await whole(client, "scripted", max_completion_tokens=5)
        streamed, chunks = await heard(client, "scripted", stop="two")
        vote = await whole(
            client, "self_consistency", max_tokens=20, extra_body={"reason": {"n": 4}}
        )
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("one", "stop")
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("one t", "length")
    assert streamed == [("content", "one ", "0")]
    assert chunks[-1].usage.completion_tokens == 7
    assert (vote.choices[0].message.content, vote.choices[0].finish_reason) == ("", "length")
    assert vote.usage and 20 <= vote.usage.completion_tokens <= 24


async def test_choices_have_seeds_of_their_own_and_logprobs_of_the_answer_alone() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return f"<think>x</think>{params.seed}"

    async with client_of(service(ScriptedBackend(script, chunk=5))) as client:
        once = await whole(client, "scripted", n=3, seed=7, logprobs=True)
        again = await whole(client, "scripted", n=3, seed=7, logprobs=True)
        said, chunks = await heard(client, "scripted", seed=7, logprobs=True)
    texts = [choice.message.content for choice in once.choices]
    assert len(set(texts)) == 3 and texts == [c.message.content for c in again.choices]
    assert said[-1] == ("content", texts[0], "0")
    for choice in once.choices:
        assert choice.logprobs and choice.logprobs.content
        assert "".join(t.token for t in choice.logprobs.content) == choice.message.content
    streamed = [
        t.to_dict()
        for c in chunks
        if c.choices and c.choices[0].logprobs
        for t in c.choices[0].logprobs.content
    ]
    first = once.choices[0].logprobs
    assert first and streamed == [t.to_dict() for t in first.content or ()]
    assert streamed[0] == {
        "token": texts[0][:1],  # type: ignore[index]
        "logprob": -0.1,
        "bytes": [ord(texts[0][0])],  # type: ignore[index]
        "top_logprobs": [],
    }


async def test_a_plain_completion_goes_on_with_the_text() -> None:
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return "<think>raw"

    async with client_of(service(ScriptedBackend(script, chunk=1))) as client:
        answer = await client.completions.create(
            model="scripted", prompt="make 24 from 3 5 7 8", logprobs=0
        )
        stream = await client.completions.create(model="scripted", prompt=["a"], stream=True)
        pieces = [chunk.choices[0].text async for chunk in stream]
    assert asked == ["make 24 from 3 5 7 8", "a"]
    assert answer.choices[0].text == "<think>raw" == "".join(pieces)
    assert answer.choices[0].logprobs and answer.choices[0].logprobs.text_offset == [*range(10)]
    assert answer.object == "text_completion"


async def test_the_configuration_chooses_methods_and_their_keys() -> None:
    widths: list[int] = []

    def script(context: str, params: SamplingParams) -> str:
        widths.append(params.max_tokens)
        return "\\boxed{1}"

    tables = {
        "controller": "self_consistency",
        "n": 3,
        "sampling": {"max_tokens": 9},
        "methods": {"best_of_n": {"n": 2, "scorer": "likelihood"}},
        "budget": {"critical_path": 50},
    }
    held = service(ScriptedBackend(script), **tables)
    async with client_of(held) as client:
        for model, own, chains in (
            ("scripted", {}, 3),
            ("scripted+self_consistency", {"n": 5}, 5),
            ("best_of_n", {}, 2),
            ("scripted", {"controller": "best_of_n", "n": 4}, 4),
        ):
            widths.clear()
            await whole(client, model, extra_body={"reason": own})
            assert len(widths) == chains
    assert held.limits.budget.critical_path == 50
