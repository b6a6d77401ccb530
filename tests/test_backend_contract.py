"""What every backend must do. A new one is one more line in BACKENDS."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from reason.backends.connect import connect
from reason.backends.hf import HFBackend
from reason.backends.openai import OpenAIBackend
from reason.backends.scripted import ScriptedBackend
from reason.backends.sglang import SGLangBackend
from reason.errors import BackendError, Unsupported
from reason.types import Grammar, SamplingParams
from tests import tiny
from tests.driving import collect, gather, run

BACKENDS: dict[str, Callable[..., Any]] = {
    "hf-llama": lambda: HFBackend(tiny.model("llama"), tiny.words()),
    "hf-qwen3": lambda: HFBackend(
        tiny.model("qwen3", kv_heads=4, seed=1), tiny.words(), max_batch=24
    ),
    "scripted": lambda: ScriptedBackend(lambda context, _: "w1 w2 w3 " + context[::-1] * 20),
    "sglang-qwen3": SGLangBackend,
    "sglang-countdown": SGLangBackend,
    "openai-qwen3": lambda url: OpenAIBackend(f"{url}/v1"),
    "openai-countdown": lambda url: OpenAIBackend(f"{url}/v1"),
    "openai-llama.cpp": connect,
}
"""How to make each backend, those of a server from its URL; beside the protocol they have
`running`, a count of requests."""
SERVERS = {
    "sglang-qwen3": "qwen3_server",
    "sglang-countdown": "countdown_server",
    "openai-qwen3": "qwen3_server",
    "openai-countdown": "countdown_server",
    "openai-llama.cpp": "llama_server",
}


@dataclass(frozen=True)
class Case:
    backend: Any
    prompts: list[list[int]]
    word: str
    """What a number is called in this vocabulary."""


@pytest.fixture(scope="module", params=BACKENDS)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    name = request.param
    backend = BACKENDS[name](*([request.getfixturevalue(SERVERS[name])] if name in SERVERS else []))
    rng = random.Random(0)
    word = "{}" if "countdown" in name else "w{}"
    texts = (" ".join(word.format(rng.randrange(60)) for _ in range(1 + i % 30)) for i in range(64))
    yield Case(backend, [backend.encode(text) for text in texts], word)
    run(backend.close())


def test_encode_and_decode_are_inverse(case: Case) -> None:
    for ids in case.prompts:
        assert case.backend.encode(case.backend.decode(ids)) == ids


def test_ids_and_logprobs_and_the_text_of_the_ids(case: Case) -> None:
    whole = run(collect(case.backend, case.prompts[5], SamplingParams(max_tokens=20, seed=1)))
    assert 0 < len(whole.ids) <= 20
    assert whole.text == case.backend.decode(whole.ids)
    assert all(logprob <= 0 for logprob in whole.logprobs)
    assert all(0 <= i < case.backend.info.vocabulary for i in whole.ids)


def test_the_last_chunk_carries_finish_and_usage(case: Case) -> None:
    params = SamplingParams(temperature=0, max_tokens=5)
    whole = run(collect(case.backend, case.prompts[9], params))
    assert whole.last.finish == "length" and len(whole.ids) == 5
    assert whole.last.usage is not None
    assert whole.last.usage.prompt_tokens == len(case.prompts[9])


def test_nothing_is_sampled_for_max_tokens_0(case: Case) -> None:
    whole = run(collect(case.backend, case.prompts[5], SamplingParams(max_tokens=0)))
    assert (whole.text, whole.ids, whole.last.finish) == ("", [], "length")


def test_the_stop_string_is_part_of_the_text(case: Case) -> None:
    params = SamplingParams(temperature=0, max_tokens=24)
    free = run(collect(case.backend, case.prompts[9], params))
    for first, width in ((2, 4), (5, 9), (11, 2)):
        stop = free.text[first : first + width]
        whole = run(collect(case.backend, case.prompts[9], params.but(stop=(stop, "not in it"))))
        assert (whole.last.finish, whole.last.stopped_at) == ("stop", stop)
        assert free.text.startswith(whole.text) and stop in whole.text
        assert stop not in case.backend.decode(whole.ids[:-1])


def test_the_stop_token_is_part_of_the_ids(case: Case) -> None:
    params = SamplingParams(temperature=0, max_tokens=24)
    free = run(collect(case.backend, case.prompts[9], params))
    stop = free.ids[6]
    whole = run(collect(case.backend, case.prompts[9], params.but(stop_token_ids=(stop,))))
    assert whole.ids == free.ids[: free.ids.index(stop) + 1]
    assert (whole.last.finish, whole.last.stopped_at) == ("stop", None)


def test_closing_early_frees(case: Case) -> None:
    async def main() -> None:
        params = SamplingParams(max_tokens=400, seed=1)
        streams = [case.backend.generate(ids, params) for ids in case.prompts[:40]]
        await asyncio.gather(*(anext(stream) for stream in streams[:20]))
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams[20:]]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
        for _ in range(1000):
            if not case.backend.running:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{case.backend.running} requests still run")

    run(main())


def test_reproducible_as_far_as_it_says(case: Case) -> None:
    said = case.backend.info.reproducible
    temperature = {"always": 1.0, "greedy": 0.0}.get(said)
    if temperature is None:
        pytest.skip("says that it is never reproducible")
    params = SamplingParams(temperature=temperature, max_tokens=30)
    asks = [(ids, params.but(seed=n)) for n, ids in enumerate(case.prompts)]
    together = gather(case.backend, asks)
    alone = [run(collect(case.backend, *ask)) for ask in asks[:8]]
    assert [w.ids for w in alone] == [w.ids for w in together[:8]]
    order = list(range(64))
    random.Random(1).shuffle(order)
    shuffled = gather(case.backend, [asks[n] for n in order])
    assert [w.ids for w in shuffled] == [together[n].ids for n in order]


def test_seeds_matter_where_the_model_samples(case: Case) -> None:
    if isinstance(case.backend, ScriptedBackend):
        pytest.skip("a script does not sample")
    hot = SamplingParams(temperature=3.0, max_tokens=20)  # the model that ships is sure of itself
    asks = [(case.prompts[9], hot.but(seed=n)) for n in range(8)]
    assert len({tuple(w.ids) for w in gather(case.backend, asks)}) > 4
    asks = [(case.prompts[9], hot)] * 8
    assert len({tuple(w.ids) for w in gather(case.backend, asks)}) > 4


def test_score_agrees_with_generation(case: Case) -> None:
    if not case.backend.info.scores:
        with pytest.raises(Unsupported, match="SGLang"):
            run(case.backend.score(case.prompts[9], 1))
        return
    asks = [(ids, SamplingParams(max_tokens=30, seed=3)) for ids in case.prompts[:16]]
    wholes = gather(case.backend, asks)

    async def main() -> list[list[float]]:
        return await asyncio.gather(
            *(
                case.backend.score([*ids, *whole.ids], len(ids))
                for (ids, _), whole in zip(asks, wholes, strict=True)
            )
        )

    for whole, scores in zip(wholes, run(main()), strict=True):
        assert scores == pytest.approx(whole.logprobs, abs=1e-4)
    assert run(case.backend.score(case.prompts[9], len(case.prompts[9]))) == []


def test_64_requests_with_different_parameters_do_not_mix(case: Case) -> None:
    said = case.backend.info.reproducible
    if said == "never":
        pytest.skip("cannot be compared without reproducible sampling")
    temperatures = (0.0, 0.5, 1.0, 2.0) if said == "always" else (0.0,)
    asks = [
        (
            ids,
            SamplingParams(
                temperature=temperatures[n % len(temperatures)],
                top_p=(1.0, 0.8)[n % 2],
                top_k=(0, 3, 10)[n % 3],
                min_p=(0.0, 0.05)[n // 8 % 2],
                max_tokens=1 + n % 23,
                stop=((), (case.word.format(7),), ("3", case.word.format(11) + " "))[n % 3],
                seed=n,
                priority=n % 5,
            ),
        )
        for n, ids in enumerate(case.prompts)
    ]
    together = gather(case.backend, asks)
    for (ids, params), whole in list(zip(asks, together, strict=True))[::5]:
        alone = run(collect(case.backend, ids, params))
        assert (alone.ids, alone.text) == (whole.ids, whole.text)
        assert alone.last.finish == whole.last.finish
        assert alone.logprobs == pytest.approx(whole.logprobs, abs=1e-4)


def test_a_grammar_is_obeyed_or_refused(case: Case) -> None:
    first = case.word.format(1)
    params = SamplingParams(max_tokens=8, grammar=Grammar("regex", first))
    try:
        whole = run(collect(case.backend, case.prompts[5], params))
    except Unsupported as error:
        assert "sglang" in str(error).lower()
    else:
        assert whole.text.removesuffix("<eos>").strip() == first


def test_errors_are_backend_errors(case: Case) -> None:
    if isinstance(case.backend, ScriptedBackend):
        pytest.skip("a script takes any ids")
    for ids in ([], [-1], [case.backend.info.vocabulary]):
        with pytest.raises(BackendError):
            run(collect(case.backend, ids, SamplingParams(max_tokens=4)))
