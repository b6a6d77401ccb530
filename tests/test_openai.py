"""Servers of /v1/completions as the backend: SGLang's and llama.cpp's, and what may go wrong."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.syntax import syntax_of
from eval.scorers import likelihood
from eval.tasks import Countdown
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.backends.hf import HFBackend
from reason.backends.openai import OpenAIBackend
from reason.backends.pool import Pool
from reason.backends.sglang import SGLangBackend
from reason.errors import BackendError, Unsupported, UsageError
from reason.run import solve
from reason.types import Grammar, SamplingParams
from tests import tiny
from tests.driving import collect, gather, run
from tests.gateway import gateway
from tests.serving import COUNTDOWN, llama_cpp
from tests.test_sglang import quiet

GREEDY = SamplingParams(temperature=0.0, max_tokens=1024)
APR = AdaptiveParallel(syntax="countdown", sampling=GREEDY)
SERIAL = "<bos> <seq> 77 3 5 7 9 ; 0 <go>"
SCHEMA = json.dumps({"enum": [[1, 2], [2, 1]]})
"""Without room for white space, of which a random model never sees the end, but behind it."""


@pytest.fixture(scope="module")
def model(countdown_server: str) -> Iterator[OpenAIBackend]:
    backend = OpenAIBackend(f"{countdown_server}/v1")
    yield backend
    run(backend.close())


@pytest.fixture(scope="module")
def llama(llama_server: str) -> Iterator[Any]:
    backend = connect(llama_server)
    yield backend
    run(backend.close())


def test_what_they_say_of_themselves(
    model: OpenAIBackend, llama: Any, countdown_server: str
) -> None:
    native = SGLangBackend(countdown_server)
    assert model.info == replace(native.info, reproducible="never", fingerprint="")
    assert (model.info.token_ids, model.info.scores) == (True, True)
    folder = llama.info.tokenizer
    size = len(tiny.letters(ascii=True))
    assert Path(llama.info.model).name == "model.gguf"
    assert (llama.info.context, llama.info.vocabulary) == (512, size)
    assert (llama.info.token_ids, llama.info.scores) == (True, False)
    assert Path(folder).is_dir()
    run(native.close())


def test_answers_are_those_of_sglangs_own_interface(
    model: OpenAIBackend, countdown_server: str
) -> None:
    native = SGLangBackend(countdown_server)
    syntax = syntax_of("countdown")
    items = list(Countdown(4).items(24, 5, "countdown"))
    asks = [
        (
            model.encode(syntax.parallel(item.prompt, 4)),
            GREEDY.but(
                max_tokens=20 + 5 * n,
                stop=((), ("<join>",), (" 1", "= 2"), ("<eos>",))[n % 4],
                stop_token_ids=((), (19,))[n // 4 % 2],
            ),
        )
        for n, item in enumerate(items)
    ]
    asks.append((model.encode("<bos> <sub> 24 7 8 8 <go>"), GREEDY))
    theirs, ours = gather(native, asks), gather(model, asks)
    for here, there in zip(ours, theirs, strict=True):
        assert (here.ids, here.text) == (there.ids, there.text)
        assert (here.last.finish, here.last.stopped_at) == (
            there.last.finish,
            there.last.stopped_at,
        )
        assert here.logprobs == pytest.approx(there.logprobs, abs=1e-4)
    assert {whole.last.finish for whole in ours} == {"stop", "length", "eos"}
    run(native.close())


def test_countdown_problems_end_to_end(model: OpenAIBackend, countdown_server: str) -> None:
    items = list(Countdown(4).items(8, 3, "countdown"))
    native = SGLangBackend(countdown_server)

    async def main(backend: Backend) -> list[tuple[object, ...]]:
        runs = await asyncio.gather(*(solve(APR, i.prompt, {"policy": backend}) for i in items))
        return [
            (found.result and found.result.answer, found.tree.critical_path, found.error)
            for found in runs
        ]

    assert run(main(model)) == run(main(native))
    assert run(quiet(countdown_server)) == 0
    run(native.close())


@pytest.mark.parametrize("kind, text", [("regex", "(3|4)[+]5"), ("ebnf", 'root ::= "3" "+5"')])
def test_grammars_of_sglang(model: OpenAIBackend, kind: Any, text: str) -> None:
    params = SamplingParams(max_tokens=20, grammar=Grammar(kind, text))
    whole = run(collect(model, model.encode(SERIAL), params))
    assert whole.text.removesuffix("<eos>").strip() in ("3 + 5", "4 + 5")


def test_grammars_of_llama_cpp(llama: Any) -> None:
    def ask(kind: Any, text: str) -> str:
        params = SamplingParams(max_tokens=400, grammar=Grammar(kind, text))
        whole = run(collect(llama, llama.encode("the dog"), params))
        return whole.text.removesuffix("<eos>")

    assert ask("ebnf", 'root ::= "the lazy " ("dog" | "fox")') in ("the lazy dog", "the lazy fox")
    assert json.loads(ask("json", SCHEMA)) in ([1, 2], [2, 1])
    with pytest.raises(Unsupported, match=r"llama.cpp takes no grammar of the kind regex.*SGLang"):
        ask("regex", "a+")


def test_tokens_of_llama_cpp_are_those_of_hf(llama: Any) -> None:
    here = HFBackend.load(llama.info.tokenizer)
    asks = [(here.encode(text), GREEDY.but(max_tokens=40)) for text in ("the fox", "a lazy dog.")]
    ours, theirs = gather(here, asks), gather(llama, asks)
    assert [whole.ids for whole in theirs] == [whole.ids for whole in ours]
    assert [whole.text for whole in theirs] == [whole.text for whole in ours]
    for whole, other in zip(theirs, ours, strict=True):
        # Its cache holds half floats.
        assert whole.logprobs == pytest.approx(other.logprobs, abs=2e-2)
    again = run(collect(llama, asks[0][0] + ours[0].ids, GREEDY.but(max_tokens=5)))
    assert again.last.usage is not None
    assert again.last.usage.cached_tokens >= again.last.usage.prompt_tokens - 2
    run(here.close())


def test_ids_that_are_not_told_are_an_error_and_not_left_out(tmp_path: Path) -> None:
    with llama_cpp(tmp_path, tiny.letters()) as url:
        backend = OpenAIBackend(url, tokenizer=str(tmp_path))
        hot = SamplingParams(temperature=2.0, max_tokens=200)
        # One of them may end before it comes to half a character.
        with pytest.raises(BackendError, match=r"told the ids of .* leaves out those"):
            gather(backend, [(backend.encode("the fox"), hot.but(seed=i)) for i in range(16)])
        only = hot.but(grammar=Grammar("ebnf", "root ::= [a-z ]+"))
        assert run(collect(backend, backend.encode("the fox"), only)).text
        run(backend.close())


def test_what_nobody_reads_any_more_is_not_written(
    model: OpenAIBackend, llama: Any, countdown_server: str
) -> None:
    async def main(backend: Any) -> float:
        params = SamplingParams(max_tokens=400, temperature=3.0)
        ids = backend.encode("1 2 3" if backend is model else "the fox")
        streams = [backend.generate(ids, params) for _ in range(8)]
        await asyncio.gather(*(anext(stream) for stream in streams[:4]))
        for stream in streams:
            await stream.aclose()
        begun = time.monotonic()
        await collect(backend, ids, params.but(max_tokens=1))
        return time.monotonic() - begun

    run(main(model))
    assert run(quiet(countdown_server, 30)) == 0
    assert run(main(llama)) < 20
    assert (model.running, llama.running) == (0, 0)


def test_a_context_that_is_full_is_a_finish_reason(model: OpenAIBackend, llama: Any) -> None:
    for backend, text in ((model, "1 + 1 = 2 "), (llama, "the fox ")):
        # One that believes that more fits than the server can take.
        credulous = OpenAIBackend(backend.url, tokenizer=backend.info.tokenizer, context=1 << 20)
        for believer in (backend, credulous):
            whole = run(collect(believer, backend.encode(text * 2000), GREEDY))
            assert (whole.ids, whole.last.finish) == ([], "length")
        run(credulous.close())


def test_several_addresses_are_a_pool(countdown_server: str) -> None:
    place = countdown_server.removeprefix("http://")
    backend = connect(f"openai://{place}/v1,{place}")
    assert isinstance(backend, Pool) and len(backend.workers) == 2
    run(backend.close())


def test_a_likelihood_is_scored(model: OpenAIBackend) -> None:
    method = BestOfN(2, "likelihood", syntax="countdown")
    found = run(solve(method, "77 3 5 7 9", {"policy": model}, scorers={"likelihood": likelihood}))
    assert found.error is None and found.result is not None
    assert found.result.extra["score"] < 0


def test_a_busy_server_is_waited_for_as_long_as_it_says(countdown_server: str) -> None:
    with gateway(countdown_server) as hosted:
        backend = OpenAIBackend(hosted.url, patience=5)
        ask = backend.encode(SERIAL), GREEDY.but(max_tokens=3)
        hosted.busy, hosted.retry_after, begun = 2, "1", time.monotonic()
        assert run(collect(backend, *ask)).last.finish == "length"
        assert 2 <= time.monotonic() - begun < 30
        hosted.busy, hosted.retry_after, begun = 1, "3600", time.monotonic()
        with pytest.raises(BackendError, match="answered 429: Rate limit reached, and so for 5 s"):
            run(collect(backend, *ask))
        assert time.monotonic() - begun < 5
        run(backend.close())


def test_an_answer_that_breaks_off_is_an_error(countdown_server: str) -> None:
    with gateway(countdown_server) as hosted:
        backend = OpenAIBackend(hosted.url)
        hosted.cut = 3
        with pytest.raises(BackendError, match="broke off in the middle of an answer"):
            run(collect(backend, backend.encode(SERIAL), GREEDY.but(max_tokens=60)))
        assert backend.running == 0
        run(backend.close())


def test_a_wrong_key_is_refused_and_not_shown(
    countdown_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-secret")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with gateway(countdown_server, key="sk-right") as hosted:
        with pytest.raises(BackendError, match=r"answered 401: Incorrect .* \*\*\*") as caught:
            connect(f"openai:{hosted.url}?key_env=OTHER_KEY")
        assert "secret" not in str(caught.value)
        with pytest.raises(BackendError, match="answered 401"):
            connect(f"openai:{hosted.url}")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
        run(connect(f"openai:{hosted.url}").close())
        with pytest.raises(UsageError, match="environment variable NO_KEY is not set"):
            connect(f"openai:{hosted.url}?key_env=NO_KEY")
        monkeypatch.setenv("BAD_KEY", "sk\nsk")
        with pytest.raises(UsageError, match="BAD_KEY holds is no key"):
            connect(f"openai:{hosted.url}?key_env=BAD_KEY")


def test_what_cannot_be_used_is_refused_in_a_line(
    countdown_server: str, llama_server: str, qwen3_server: str
) -> None:
    url, _, folder = llama_server.partition("?tokenizer=")
    with gateway(countdown_server) as hosted:
        for rules, spec, expected in [
            ({}, "openai://127.0.0.1:1/v1", "cannot reach http://127.0.0.1:1/v1: .*refused"),
            ({}, "openai://127.0.0.1/v1", "a server is written host:port"),
            ({}, "openai://", "names no model"),
            ({}, f"openai:{hosted.url}x", "has no /models; should its path end in /v1"),
            ({}, f"openai:{hosted.url}?model=gpt-9", "serves .*apr, but this run expects gpt-9"),
            ({}, f"openai:{hosted.url}?modle=x", r"unknown key modle \(did you mean model\?\)"),
            ({}, f"openai:{hosted.url}?tokenizer=/none", "no checkpoint directory at /none; say w"),
            ({}, f"openai:{qwen3_server}?tokenizer={COUNTDOWN}", "is not that of"),
            ({}, f"{url}?tokenizer={COUNTDOWN}", "is not that of"),
            ({"narrow": True}, f"openai:{hosted.url}", "tells none of what it sampled; .*chat=1"),
            ({"refused": ("logprobs",)}, f"openai:{hosted.url}", "not with token ids .*logprobs"),
        ]:
            hosted.narrow, hosted.refused = False, ()
            for name, value in rules.items():
                setattr(hosted, name, value)
            with pytest.raises((BackendError, UsageError), match=expected) as caught:
                connect(spec)
            assert "\n" not in str(caught.value)
    assert folder
