"""Contexts read side by side on a real SGLang server, against the paper's dense form."""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from transformers import PreTrainedModel

from reason.backends.base import Chunk, ParallelEncoder
from reason.backends.http import Refused
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_ape import wire
from reason.backends.sglang_launch import ServerProcess
from reason.errors import BackendError, Unsupported, UsageError
from reason.types import Contexts, Layout, SamplingParams
from tests import ape_reference as reference
from tests import tiny
from tests.driving import collect, prompt, run
from tests.serving import serving

GREEDY = SamplingParams(temperature=0, max_tokens=12)
ON = {"radix_cache_backend": wire.NAME}


@dataclass(frozen=True)
class Query:
    ids: list[int]
    layout: Layout


def query(
    seed: int, *contexts: int, prefix: int = 4, rest: int = 6, t: float = 0.8, s: float = 0.7
) -> Query:
    """A prompt of that many random tokens in its parts."""
    parts = [prompt(1000 * seed + n, length) for n, length in enumerate((prefix, *contexts, rest))]
    return Query([id for part in parts for id in part], Layout(prefix, contexts, t, s))


@dataclass(frozen=True)
class Answer:
    ids: list[int]
    logprobs: list[float]
    last: Chunk


async def ask(backend: SGLangBackend, asked: Query, params: SamplingParams = GREEDY) -> Answer:
    chunks = [c async for c in backend.generate_parallel(asked.ids, asked.layout, params)]
    assert all(c.finish is None and c.usage is None for c in chunks[:-1])
    ids = [id for c in chunks for id in c.ids]
    return Answer(ids, [p for c in chunks for p in c.logprobs], chunks[-1])


def expect(model: PreTrainedModel, asked: Query, answer: Answer) -> None:
    """The tokens of the reference, up to its end, and their log-probabilities."""
    wanted = reference.greedy(model, asked.ids, asked.layout, len(answer.ids))
    assert answer.ids == wanted
    whole = [*asked.ids, *wanted]
    values = reference.logprobs(model, whole, asked.layout, len(asked.ids))
    assert answer.logprobs == pytest.approx(values, abs=1e-4)


def save(folder: Path, kind: str, kv_heads: int) -> PreTrainedModel:
    words = tiny.words(eos=True)
    model = tiny.model(kind, kv_heads=kv_heads, seed=1, eos_token_id=words.eos_token_id)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


@dataclass(frozen=True)
class Served:
    """A server, a client and the model itself."""

    process: ServerProcess
    backend: SGLangBackend
    model: PreTrainedModel

    def get(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.process.url + path, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith((b"{", b"[")) else text

    async def idle(self) -> dict[str, Any]:
        """What it says of itself once nothing runs, its own check of its memory passed."""
        for _ in range(100):
            found: dict[str, Any] = self.get("/v1/loads")["loads"][0]
            if not found["num_running_reqs"] + found["num_waiting_reqs"]:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        said = self.process.log.read_text(errors="replace")
        assert "leak" not in said and "Traceback" not in said, said[-3000:]
        return found


def serve(folder: Path, kind: str, kv_heads: int, **options: str) -> Iterator[Served]:
    model = save(folder, kind, kv_heads)
    with serving(str(folder), **{**ON, **options}) as process:
        backend = SGLangBackend(process.url)
        yield Served(process, backend, model)
        run(backend.close())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Grouped heads; one request is computed at a time, the overlap of SGLang's schedule is off."""
    folder = tmp_path_factory.mktemp("llama")
    yield from serve(folder, "llama", 2, disable_overlap_schedule="true")


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A key and a value for every head; prompts come in chunks of 16 tokens, and the cache holds
    600, so that contexts are evicted and requests retracted."""
    folder = tmp_path_factory.mktemp("qwen3")
    options = {"chunked_prefill_size": "16", "max_total_tokens": "600"}
    yield from serve(folder, "qwen3", 4, **options)


def test_tokens_and_logprobs_are_those_of_the_dense_form(llama: Served, qwen3: Served) -> None:
    for served in (llama, qwen3):
        assert isinstance(served.backend, ParallelEncoder)
        for asked in (
            query(1, 9, 14, 5),
            query(2, 9, 14, 5, t=1.0, s=1.0),
            query(3, 1, 1, t=0.2, s=0.5),
            query(4, 20, prefix=0, rest=1, t=1.3, s=0.0),
            query(5, *[7] * 12, rest=40),
        ):
            expect(served.model, asked, run(ask(served.backend, asked)))


def test_sides_are_equal_and_positions_reused(llama: Served) -> None:
    asked = query(11, 9, 14, 5)
    ends = list(accumulate((4, 9, 14, 5)))
    one, two, three = (asked.ids[a:b] for a, b in zip(ends, ends[1:], strict=False))
    turned = [*asked.ids[:4], *three, *one, *two, *asked.ids[ends[-1] :]]
    other = Query(turned, Layout(4, (5, 9, 14), 0.8, 0.7))
    first, second = run(ask(llama.backend, asked)), run(ask(llama.backend, other))
    assert second.ids == first.ids
    assert second.logprobs == pytest.approx(first.logprobs, abs=1e-4)
    plainly = run(collect(llama.backend, asked.ids, GREEDY))
    assert plainly.ids != first.ids


def test_one_context_with_both_factors_1_is_a_plain_prompt(llama: Served) -> None:
    asked = query(12, 30, t=1.0, s=1.0)
    answer = run(ask(llama.backend, asked))
    plain = run(collect(llama.backend, asked.ids, GREEDY))
    assert answer.ids == plain.ids
    assert answer.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


def test_contexts_are_encoded_once_and_counted(llama: Served) -> None:
    asked = query(13, 30, 40, rest=6)
    first, again = run(ask(llama.backend, asked)), run(ask(llama.backend, asked))
    for answer, cached in ((first, 0), (again, 74)):
        usage = answer.last.usage
        assert usage is not None and (usage.prompt_tokens, usage.cached_tokens) == (80, cached)
    grown = Query([*asked.ids[:74], *prompt(5, 9), *asked.ids[74:]], Layout(4, (30, 40, 9)))
    usage = run(ask(llama.backend, grown)).last.usage
    assert usage is not None and usage.cached_tokens == 74


def test_logprobs_of_what_reads_contexts(llama: Served, qwen3: Served) -> None:
    for served in (llama, qwen3):
        asked = query(14, 9, 14, rest=40)
        for start in (asked.layout.end + 1, asked.layout.end + 20, len(asked.ids) - 1):
            values = run(served.backend.score_parallel(asked.ids, asked.layout, start))
            wanted = reference.logprobs(served.model, asked.ids, asked.layout, start)
            assert values == pytest.approx(wanted, abs=1e-4)
        assert run(served.backend.score_parallel(asked.ids, asked.layout, len(asked.ids))) == []


def mixed(seed: int, count: int, longest: int) -> list[Query | list[int]]:
    """Plain prompts and such with 1 to 6 contexts, some of which they share."""
    draw, found = random.Random(seed), list[Query | list[int]]()
    for number in range(count):
        lengths = [draw.randint(1, longest) for _ in range(draw.randint(0, 6))]
        plain = prompt(seed + number, draw.randint(3, longest))
        # A few seeds, so that contexts come again.
        found.append(query(draw.randint(0, 5), *lengths) if lengths else plain)
    return found


async def each(backend: SGLangBackend, asked: Query | list[int]) -> list[int]:
    if isinstance(asked, Query):
        return (await ask(backend, asked)).ids
    return (await collect(backend, asked, GREEDY)).ids


def test_many_at_once_answer_as_one_by_one(llama: Served, qwen3: Served) -> None:
    for served, longest in ((llama, 40), (qwen3, 20)):
        asked = mixed(7, 32, longest)

        async def together(served: Served = served, asked: Any = asked) -> list[list[int]]:
            return list(await asyncio.gather(*(each(served.backend, a) for a in asked)))

        alone = [run(each(served.backend, a)) for a in asked]
        assert run(together()) == alone
        run(served.idle())
