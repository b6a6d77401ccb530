"""A chat API without token ids: llama.cpp's own server, also behind a gateway with its rules."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from eval.scorers import likelihood
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.backends.openai_chat import ChatBackend
from reason.backends.openai_chat_wire import Delta, Said
from reason.errors import BackendError, Unsupported, UsageError
from reason.run import Controller, solve
from reason.types import Grammar, Message, Prompt, SamplingParams
from tests.console import reason
from tests.driving import Whole, run
from tests.gateway import gateway

HELLO = [Message(role="user", content="the quick fox")]
GREEDY = SamplingParams(temperature=0.0, max_tokens=40)
SCHEMA = json.dumps({"enum": ["the dog", "the fox"]})


@pytest.fixture(scope="module")
def url(llama_server: str) -> str:
    """Of the API, /v1 included."""
    return llama_server.removeprefix("openai:").partition("?")[0]


@pytest.fixture(scope="module")
def chat(url: str) -> Iterator[ChatBackend]:
    backend = connect(f"openai:{url}?chat=1")
    assert isinstance(backend, ChatBackend)
    yield backend
    run(backend.close())


def answer(backend: Backend, params: SamplingParams, prompt: Prompt = HELLO) -> Whole:
    """All chunks of the answer to a prompt, joined."""

    async def main() -> Whole:
        chunks = [chunk async for chunk in backend.generate(backend.encode(prompt), params)]
        assert all(chunk.finish is None for chunk in chunks[:-1])
        ids = [id for chunk in chunks for id in chunk.ids]
        return Whole("".join(chunk.text for chunk in chunks), ids, [], chunks[-1])

    return run(main())


def test_an_answer_has_the_text_and_as_many_tokens_as_the_server_counts(
    chat: ChatBackend, llama_server: str
) -> None:
    native = connect(llama_server)
    ours = answer(chat, GREEDY)
    theirs = answer(native, GREEDY, "<user>the quick fox<assistant>")
    assert ours.text == theirs.text.removesuffix("<eos>") == chat.decode(ours.ids)
    assert len(ours.ids) == len(theirs.ids)
    assert (ours.last.finish, ours.last.stopped_at) == (theirs.last.finish, None)
    assert ours.last.usage and theirs.last.usage
    assert ours.last.usage.prompt_tokens == theirs.last.usage.prompt_tokens
    info = chat.info
    assert (info.token_ids, info.scores, info.reproducible) == (False, False, "never")
    assert chat.running == 0
    run(native.close())


def test_the_stop_string_is_part_of_the_text(chat: ChatBackend) -> None:
    free = answer(chat, GREEDY).text
    stop = free[5:8]
    whole = answer(chat, GREEDY.but(stop=(stop, "not in it")))
    assert (whole.last.finish, whole.last.stopped_at) == ("stop", stop)
    assert free.startswith(whole.text) and stop in whole.text


def test_a_json_schema_is_obeyed_and_other_grammars_are_refused(chat: ChatBackend) -> None:
    params = GREEDY.but(max_tokens=100)
    said = answer(chat, params.but(grammar=Grammar("json", SCHEMA))).text
    assert json.loads(said) in ("the dog", "the fox")
    for kind in ("regex", "ebnf"):
        with pytest.raises(Unsupported, match=f"no grammar of the kind {kind}, only json; SGLang"):
            answer(chat, params.but(grammar=Grammar(kind, "a")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method",
    [Single(), SelfConsistency(n=3), BestOfN(n=3, scorer="verifier")],
    ids=lambda method: method.name,
)
def test_methods_that_continue_no_thread_run(chat: ChatBackend, method: Controller) -> None:
    method = replace(method, sampling=SamplingParams(max_tokens=20))  # type: ignore[type-var]
    scorers = {"verifier": lambda thread, answer: float(len(thread.text))}
    found = run(solve(method, "what does the fox say?", {"policy": chat}, scorers=scorers))
    assert found.error is None and found.result is not None
    chains = [
        thread for thread in found.tree if any(s.origin == "sampled" for s in thread.segments)
    ]
    assert len(chains) == getattr(method, "n", 1)
    counts = [sum(len(s.ids) for s in t.segments if s.origin == "sampled") for t in chains]
    assert found.ledger.total_tokens == sum(counts)
    assert all(0 < count <= 20 for count in counts)
    assert found.ledger.prompt_tokens > 0


def test_methods_that_need_token_ids_say_so(chat: ChatBackend, url: str) -> None:
    for method in (AdaptiveParallel(), BestOfN(2, "likelihood")):
        scorers = {"likelihood": likelihood}
        found = run(solve(method, "what?", {"policy": chat}, scorers=scorers))
        assert found.error is not None and f"{method.name} as it is set needs" in found.error
        assert "token ids and log-probabilities of the model" in found.error
        assert len(found.tree) == 0
    result = reason("ask", "what?", "--backend", f"openai:{url}?chat=1")
    assert result.exit_code == 2
    assert "apr as it is set needs token ids" in " ".join(result.output.split())
    single = ("--controller", "single", "sampling.max_tokens=5")
    result = reason("ask", "what?", *single, "--backend", f"openai:{url}?chat=1")
    assert result.exit_code == 1 and "tokens   5 on the critical path" in result.output


def test_what_it_cannot_do_is_one_line(chat: ChatBackend) -> None:
    ids = chat.encode(HELLO)
    turn: Prompt = [*HELLO, Message(role="assistant", content="the")]
    for work, expected in [
        (lambda: chat.encode("a text"), "cannot go on from a text"),
        (lambda: chat.encode(turn), "cannot go on from a text, only answer a chat"),
        (lambda: run(_all(chat, [*ids, 3], GREEDY)), "cannot go on from its answer"),
        (lambda: run(_all(chat, ids, GREEDY.but(stop_token_ids=(3,)))), "knows no stop_token_ids"),
        (lambda: run(chat.score(ids, 1)), "does not score a text"),
    ]:
        with pytest.raises(Unsupported, match=expected) as caught:
            work()
        assert "is a chat without token ids" in str(caught.value)
        assert "hf, SGLang and vLLM with token ids do" in str(caught.value)


async def _all(chat: ChatBackend, ids: list[int], params: SamplingParams) -> list[str]:
    return [chunk.text async for chunk in chat.generate(ids, params)]


def test_the_words_of_a_request_are_learnt_from_refusals(url: str) -> None:
    refused = ("max_tokens", "temperature", "stream_options", "seed")
    with gateway(url, refused=refused) as hosted:
        chat = ChatBackend(hosted.url)
        assert set(hosted.seen[-1]) == {
            *("model", "messages", "stream", "max_completion_tokens", "top_p")
        }
        begun = len(hosted.seen)
        params = SamplingParams(max_tokens=5, seed=3)
        assert answer(chat, params).last.finish == "length"
        # Once it is known what it refuses, a request is sent once.
        answer(chat, params)
        assert [sorted({"seed", "stream_options"} & set(body)) for body in hosted.seen[begun:]] == [
            ["seed", "stream_options"],
            ["seed"],
            [],
            [],
        ]
        # What was asked for in earnest is not dropped in silence.
        with pytest.raises(BackendError, match="Unsupported parameter: 'temperature'"):
            answer(chat, params.but(temperature=0.0))
        run(chat.close())


def test_an_api_without_completions_is_used_as_a_chat_and_says_so(url: str) -> None:
    with gateway(url, missing=("/v1/completions",)) as hosted:
        with pytest.warns(UserWarning, match=r"has no /completions for .* It is used as a chat$"):
            chat = connect(f"openai:{hosted.url}")
        assert isinstance(chat, ChatBackend)
        run(chat.close())
        with pytest.raises(BackendError, match=r"has no /completions .*add chat=1"):
            connect(f"openai:{hosted.url}?chat=0")
        with pytest.raises(UsageError, match="a chat API has one address"):
            connect(f"openai:{hosted.url},{hosted.url}?chat=1")
        with pytest.raises(UsageError, match="a chat API takes no tokenizer"):
            connect(f"openai:{hosted.url}?chat=1&tokenizer=x")


def test_a_busy_api_is_waited_for_and_a_broken_answer_is_an_error(url: str) -> None:
    with gateway(url, key="sk-right") as hosted:
        with pytest.raises(BackendError, match="answered 401"):
            ChatBackend(hosted.url)
        hosted.key = ""
        chat = ChatBackend(hosted.url, patience=5)
        hosted.busy, hosted.retry_after, begun = 1, "1", time.monotonic()
        assert answer(chat, GREEDY).text
        assert time.monotonic() - begun >= 1
        hosted.busy = 1 << 20
        with pytest.raises(BackendError, match="answered 429: Rate limit reached, and so for 5 s"):
            answer(chat, GREEDY)
        hosted.busy, hosted.cut = 0, 2
        with pytest.raises(BackendError, match="broke off in the middle of an answer"):
            answer(chat, GREEDY)
        assert chat.running == 0
        run(chat.close())


def test_thoughts_that_are_told_apart_stand_in_think_tags() -> None:
    said = Said()
    deltas = [
        Delta(reasoning_content="so "),
        Delta(reasoning="that"),
        Delta(content="It is "),
        Delta(content="7."),
    ]
    assert "".join(map(said.push, deltas)) == "<think>\nso that\n</think>\n\nIt is 7."
    assert "".join(map(Said().push, deltas[2:])) == "It is 7."
