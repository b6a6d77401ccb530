"""Contexts read side by side on a real SGLang server, against the paper's dense form."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from transformers import PreTrainedModel

from reason.backends.base import Chunk, ParallelEncoder
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_ape import wire
from reason.backends.sglang_launch import ServerProcess
from reason.errors import BackendError, Unsupported, UsageError
from reason.types import Contexts, Layout, SamplingParams
from tests import ape_reference as reference
from tests import tiny
from tests.driving import collect, prompt, run
from tests.driving import reference as library
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
    """Two heads for each key and value; the overlap of SGLang's schedule is off, and a request may
    have more tokens than the model's 512 positions."""
    folder = tmp_path_factory.mktemp("llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "1")
        options = {"disable_overlap_schedule": "true", "context_length": "2048"}
        yield from serve(folder, "llama", 2, **options)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A key and a value for every head; prompts come in chunks of 16 tokens, and the cache holds
    600, filled with too much hope, so that contexts are evicted and requests retracted. After every
    step, the server checks that each slot of its cache is somebody's, and of one only."""
    folder = tmp_path_factory.mktemp("qwen3")
    options = {"chunked_prefill_size": "16", "max_total_tokens": "600"}
    options |= {"schedule_conservativeness": "0.01"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_BUSY", "1")
        patch.setenv("SGLANG_CHECK_KV_PAGE_INVARIANTS", "1")
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
    one, two, three = (asked.ids[a:b] for a, b in pairwise(ends))
    turned = [*asked.ids[:4], *three, *one, *two, *asked.ids[ends[-1] :]]
    other = Query(turned, Layout(4, (5, 9, 14), 0.8, 0.7))
    first, second = run(ask(llama.backend, asked)), run(ask(llama.backend, other))
    assert second.ids == first.ids
    assert second.logprobs == pytest.approx(first.logprobs, abs=1e-4)
    # One after another they are another prompt, and find nothing of this one's in the cache.
    plain = run(collect(llama.backend, asked.ids, GREEDY))
    assert plain.ids == library(llama.model, asked.ids, 12) != first.ids


def test_one_context_with_both_factors_1_is_a_plain_prompt(llama: Served) -> None:
    asked = query(12, 30, t=1.0, s=1.0)
    answer = run(ask(llama.backend, asked))
    plain = run(collect(llama.backend, asked.ids, GREEDY))
    assert answer.ids == plain.ids
    assert answer.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


def test_contexts_are_encoded_once_and_counted(llama: Served) -> None:
    asked = query(13, 30, 40, rest=6)
    first, again = run(ask(llama.backend, asked)), run(ask(llama.backend, asked))
    for answer in (first, again):
        assert answer.last.usage is not None and answer.last.usage.prompt_tokens == 80
    # Another prompt may have begun with the same token or two.
    assert first.last.usage.cached_tokens < 4 and again.last.usage.cached_tokens == 74
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
        asked = query(draw.randint(0, 5), *(lengths or [1]), rest=draw.randint(1, longest))
        found.append(asked if lengths else plain)
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


def test_contexts_that_are_gone_are_encoded_again(llama: Served, qwen3: Served) -> None:
    asked = query(20, 30, 40)
    first = run(ask(llama.backend, asked))
    llama.get("/flush_cache", {})
    again = run(ask(llama.backend, asked))
    assert again.ids == first.ids
    assert again.last.usage is not None and again.last.usage.cached_tokens == 0

    # What is asked in turn does not fit in the cache together.
    many = [query(21 + n, 90, 90, 90) for n in range(4)]
    answers = [run(ask(qwen3.backend, each)) for each in many * 2]
    assert [a.ids for a in answers[:4]] == [a.ids for a in answers[4:]]
    expect(qwen3.model, many[0], answers[4])
    said = qwen3.process.log.read_text()
    assert "reason_ape missing [" in said


@pytest.mark.parametrize(
    ("custom", "others", "found"),
    [({}, 600, False), (wire.WARM, 600, True), (wire.WARM, 1500, False)],
    ids=["unmarked", "marked", "marked-long-ago"],
)
def test_contexts_wait_for_their_query_while_others_come_and_go(
    qwen3: Served, custom: Mapping[str, Any], others: int, found: bool
) -> None:
    asked = query(25, 90, 90, 90)
    sampling = {"max_new_tokens": 1, "temperature": 0, "custom_params": wire.query(asked.layout)}

    def reads() -> bool:
        try:
            qwen3.get("/generate", {"input_ids": asked.ids, "sampling_params": sampling})
        except HTTPError as error:
            assert (error.code, wire.lost(error.read().decode())) == (wire.STATUS, (0, 1, 2))
            return False
        return True

    qwen3.get("/flush_cache", {})
    assert not reads()
    for start, end in pairwise(accumulate((4, 90, 90, 90))):
        ids = [*asked.ids[:4], *asked.ids[start:end]]
        params = {"max_new_tokens": 0, "temperature": 0, "custom_params": dict(custom)}
        qwen3.get("/generate", {"input_ids": ids, "sampling_params": params})
    for n in range(others // 100):
        run(collect(qwen3.backend, prompt(9000 + n, 98), GREEDY.but(max_tokens=2)))
    assert reads() == found


def test_queries_that_drive_out_each_others_contexts_all_end(qwen3: Served) -> None:
    many = [query(30 + n, 80, 80, 80) for n in range(6)]

    async def together() -> list[Answer]:
        return list(await asyncio.gather(*(ask(qwen3.backend, each) for each in many)))

    for asked, answer in zip(many, run(together()), strict=True):
        expect(qwen3.model, asked, answer)
    run(qwen3.idle())


def test_queries_that_are_retracted_go_on(qwen3: Served) -> None:
    long = GREEDY.but(max_tokens=150)
    many = [query(40 + n % 2, 60, 40, rest=5 + n) for n in range(6)]

    async def together() -> list[Answer]:
        return list(await asyncio.gather(*(ask(qwen3.backend, each, long) for each in many)))

    before = qwen3.process.log.read_text().count("Retract")
    answers = run(together())
    assert qwen3.process.log.read_text().count("Retract") > before
    for asked, answer in zip(many, answers, strict=True):
        wanted = run(ask(qwen3.backend, asked, long))
        assert answer.ids == wanted.ids
        assert answer.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    run(qwen3.idle())


def test_an_answer_goes_on_where_its_contexts_went_while_it_was_written(llama: Served) -> None:
    long = GREEDY.but(max_tokens=200)
    many = [query(46, 60, 40), query(47, 30, 30, 30)]
    stop = run(ask(llama.backend, many[0], long)).ids[101:103]
    stopped = long.but(stop=(llama.backend.decode(stop),))

    async def together(params: SamplingParams) -> list[Answer]:
        return list(await asyncio.gather(*(ask(llama.backend, each, params) for each in many)))

    async def interrupted(params: SamplingParams) -> list[Answer]:
        task = asyncio.create_task(together(params))
        for n in range(3):
            await asyncio.sleep(0.15)
            await llama.backend.pause()
            await llama.backend.update_weights(llama.process.model, n)  # the cache is dropped
            await llama.backend.resume()
        return await task

    lost = llama.process.log.read_text().count("reason_ape missing")
    for params in (long, stopped):
        whole, parts = run(together(params)), run(interrupted(params))
        for one, other in zip(whole, parts, strict=True):
            assert (other.ids, other.last.finish) == (one.ids, one.last.finish)
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
            assert other.last.stopped_at == one.last.stopped_at
    assert llama.process.log.read_text().count("reason_ape missing") >= lost + 4
    run(llama.idle())


async def hectic(backend: SGLangBackend, requests: int, seed: int) -> tuple[int, int]:
    """Queries and plain requests, some cancelled on the way: how many ended, and were cancelled."""
    draw, counts = random.Random(seed), [0, 0]
    asked = iter(mixed(seed, requests, 20))

    async def client() -> None:
        for each in asked:
            params = GREEDY.but(max_tokens=draw.choice((1, 8, 60)))
            work = (
                ask(backend, each, params)
                if isinstance(each, Query)
                else collect(backend, each, params)
            )
            task = asyncio.ensure_future(work)  # type: ignore[var-annotated]
            await asyncio.sleep(draw.choice((0, 0.01, 0.05, 0.2)))
            if draw.random() < 0.5:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            counts[task.cancelled()] += 1
            assert task.cancelled() or task.exception() is None, task.exception()

    await asyncio.gather(*(client() for _ in range(8)))
    return counts[0], counts[1]


@pytest.mark.parametrize(
    "requests", [200, pytest.param(1000, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_nothing_is_left_of_queries_that_end_or_are_cancelled(qwen3: Served, requests: int) -> None:
    run(qwen3.idle())
    ended, cancelled = run(hectic(qwen3.backend, requests, 5))
    assert ended > requests / 10 and cancelled > requests / 10
    found = run(qwen3.idle())
    assert qwen3.backend.running == 0
    assert found["num_used_tokens"] == 0, found
    expect(qwen3.model, asked := query(1, 9, 14, 5), run(ask(qwen3.backend, asked)))


def test_more_tokens_than_positions(llama: Served) -> None:
    assert llama.backend.info.context == 512
    asked = query(50, *[100] * 10)
    answer = run(ask(llama.backend, asked, GREEDY.but(max_tokens=4)))
    expect(llama.model, asked, answer)
    # The model's positions end an answer, as they do on any other backend.
    near = query(51, 500, 20, rest=5)
    answer = run(ask(llama.backend, near))
    assert (len(answer.ids), answer.last.finish) == (3, "length")
    expect(llama.model, near, answer)
    full = query(52, 508, 20)
    answer = run(ask(llama.backend, full))
    assert (answer.ids, answer.last.finish) == ([], "length")
    with pytest.raises(BackendError, match="518 positions to score, but the context"):
        run(llama.backend.score_parallel(full.ids, full.layout, full.layout.end + 1))
    with pytest.raises(BackendError, match=r"2110 tokens in all.*--max-total-tokens"):
        run(ask(llama.backend, query(53, *[100] * 21)))


def test_what_is_no_query_is_refused_and_nothing_else(llama: Served) -> None:
    model = llama.backend
    prompt = Contexts(("w1 w2", "w3 w4 w5"), "w6 w7", "w0")
    ids, layout = model.encode_contexts(prompt)
    assert (ids, layout) == ([0, 1, 2, 3, 4, 5, 6, 7], Layout(1, (2, 3), 0.9, 0.9))
    with pytest.raises(UsageError, match="context 2 of 2 is empty"):
        model.encode_contexts(Contexts(("w1", ""), "w2"))
    for start in (layout.end, len(ids) + 1):
        with pytest.raises(BackendError, match=f"start is {start}; expected 6"):
            run(model.score_parallel(ids, layout, start))
    with pytest.raises(BackendError, match="6 tokens of 6; expected some that read them"):
        run(ask(model, Query(ids[:6], layout)))
    good = wire.query(layout)[wire.NAME]
    for wrong, words in [
        ({"contexts": [2, 0]}, "contexts of 1 or more"),
        ({"contexts": [2, 5]}, "8 tokens of 8, and nothing is left"),
        ({"contexts": "2"}, "a list `contexts`"),
        ({"contexts": [2, True]}, "numbers of tokens"),
        ({"prefix": -1}, "a prefix of 0 tokens or more"),
        ({"temperature": 0}, "T must be in"),
        ({"scale": "a"}, "numbers for T and S"),
    ]:
        body = {
            "input_ids": ids,
            "sampling_params": {
                "max_new_tokens": 1,
                "custom_params": {wire.NAME: {**good, **wrong}},
            },
        }
        with pytest.raises(HTTPError) as caught:
            llama.get("/generate", body)
        assert caught.value.code == 400
        assert words in caught.value.read().decode()
    early = {"return_logprob": True, "logprob_start_len": 3, **body}
    early["sampling_params"]["custom_params"] = wire.query(layout)
    with pytest.raises(HTTPError) as caught:
        llama.get("/generate", early)
    assert "logprobs of nothing before" in caught.value.read().decode()
    run(llama.idle())


def test_a_server_without_the_flag_answers_plain_requests_alike_and_says_what_it_lacks(
    llama: Served,
) -> None:
    words = (
        "cannot read contexts side by side: install reason-engine beside SGLang there and start "
        "it with --radix-cache-backend reason_ape"
    )
    asked = query(60, 9, 14)
    plain = [prompt(n, 5 + n) for n in range(16)]
    with serving(llama.process.model) as process:
        other = SGLangBackend(process.url)

        async def ids(backend: SGLangBackend) -> list[list[int]]:
            answers = (collect(backend, each, GREEDY) for each in plain)
            return [answer.ids for answer in await asyncio.gather(*answers)]

        assert run(ids(other)) == run(ids(llama.backend))
        for work in (
            ask(other, asked),
            other.score_parallel(asked.ids, asked.layout, len(asked.ids)),
        ):
            with pytest.raises(Unsupported, match=f"^{process.url} {words}$"):
                run(work)
        with pytest.raises(Unsupported, match=words):
            other.encode_contexts(Contexts(("w1",), "w2"))
        assert "Tree cache initialized: source=default" in process.log.read_text()
        run(other.close())


def test_pages_of_more_than_one_token_are_refused_at_the_start(tmp_path: Path) -> None:
    save(tmp_path, "llama", 2)
    words = r"--radix-cache-backend reason_ape does not serve --page-size 16: contexts end between"
    with pytest.raises(BackendError, match=words), serving(str(tmp_path), page_size="16", **ON):
        pass
