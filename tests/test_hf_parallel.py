"""Contexts side by side in a model of this process, against the dense form of the paper."""

import asyncio
import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from reason.backends.base import Chunk, ParallelEncoder
from reason.backends.hf import HFBackend
from reason.backends.parallel_attention import merged, with_lse
from reason.errors import BackendError, Unsupported
from reason.types import Layout, SamplingParams
from tests import ape_reference as reference
from tests import tiny
from tests.driving import collect, run

GREEDY = SamplingParams(temperature=0, max_tokens=10)
LAYOUTS = {
    "three": Layout(5, (7, 3, 12), 0.9, 0.9),
    "plain, no prefix": Layout(0, (4, 9), 1.0, 1.0),
    "short ones": Layout(3, (1, 1, 30, 1), 0.5, 0.7),
    "many, weighed up": Layout(20, (17,) * 12, 0.8, 1.3),
    "not weighed at all": Layout(4, (5, 5), 1.5, 0.0),
}
REST = 6


def gemma(kind: str) -> Any:
    settings: dict[str, Any] = {
        "vocab_size": 62,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    torch.manual_seed(0)
    if kind == "gemma":
        return GemmaForCausalLM(GemmaConfig(**settings)).eval()
    capped = {"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 16, "sliding_window": 64}
    return Gemma2ForCausalLM(Gemma2Config(**settings, **capped)).eval()


MODELS: dict[str, Any] = {
    "llama, grouped": lambda: tiny.model("llama"),
    "llama, a head each": lambda: tiny.model("llama", kv_heads=4),
    "qwen3, one head": lambda: tiny.model("qwen3", kv_heads=1),
    "qwen2": lambda: tiny.model("qwen2"),
    "mistral": lambda: tiny.model("mistral", sliding_window=None),
    "gemma": lambda: gemma("gemma"),
    "gemma2, capped": lambda: gemma("gemma2"),
}


def ids_for(layout: Layout, rest: int = REST, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(tiny.WORDS), k=layout.end + rest)


def reordered(ids: Sequence[int], layout: Layout, order: Sequence[int]) -> tuple[list[int], Layout]:
    """The same sequence with its contexts in another order, or some of them more than once."""
    parts, at = [], layout.prefix
    for length in layout.contexts:
        parts.append(list(ids[at : at + length]))
        at += length
    some = [parts[i] for i in order]
    whole = [*ids[: layout.prefix], *(i for part in some for i in part), *ids[layout.end :]]
    return whole, replace(layout, contexts=tuple(map(len, some)))


async def ask(
    backend: ParallelEncoder, ids: list[int], layout: Layout, params: SamplingParams = GREEDY
) -> tuple[list[int], list[float], Chunk]:
    chunks = [chunk async for chunk in backend.generate_parallel(ids, layout, params)]
    found = [i for chunk in chunks for i in chunk.ids]
    return found, [p for chunk in chunks for p in chunk.logprobs], chunks[-1]


@contextmanager
def serving(model: Any, **options: Any) -> Iterator[HFBackend]:
    backend = HFBackend(model, tiny.words(), **options)
    try:
        yield backend
    finally:
        run(backend.close())


@pytest.fixture(scope="module")
def backend() -> Iterator[HFBackend]:
    with serving(tiny.model("llama")) as found:
        yield found


@pytest.mark.parametrize("kind", MODELS)
def test_ids_and_logprobs_are_those_of_equation_5(kind: str) -> None:
    model = MODELS[kind]()
    apart = copy.deepcopy(model)
    with serving(model) as found:
        for name, layout in LAYOUTS.items():
            if layout.end - layout.shift + 16 > found.info.context:
                continue
            ids = ids_for(layout)
            out, logprobs, last = run(ask(found, ids, layout))
            assert out == reference.greedy(apart, ids, layout, 10), name
            whole = ids + out
            expected = reference.logprobs(apart, whole, layout, len(ids))
            assert logprobs == pytest.approx(expected, abs=1e-4), name
            scored = run(found.score_parallel(whole, layout, layout.end + 1))
            expected = reference.logprobs(apart, whole, layout, layout.end + 1)
            assert scored == pytest.approx(expected, abs=1e-4), name
            assert last.usage is not None
            assert (last.finish, last.usage.prompt_tokens) == ("length", len(ids))


def test_one_context_with_t_and_s_1_is_the_plain_sequence(backend: HFBackend) -> None:
    layout = Layout(5, (20,))
    ids = ids_for(layout)
    plain = run(collect(backend, ids, GREEDY))
    out, logprobs, _ = run(ask(backend, ids, layout))
    assert out == plain.ids
    assert logprobs == pytest.approx(plain.logprobs, abs=1e-5)


def test_several_contexts_are_not_the_plain_sequence(backend: HFBackend) -> None:
    layout = Layout(5, (20, 20, 20))
    ids = ids_for(layout)
    plain = run(backend.score(ids, layout.end + 1))
    beside = run(backend.score_parallel(ids, layout, layout.end + 1))
    assert max(abs(a - b) for a, b in zip(plain, beside, strict=True)) > 0.1


def test_the_order_of_contexts_does_not_matter_to_the_last_bit(backend: HFBackend) -> None:
    layout = LAYOUTS["three"]
    ids = ids_for(layout)
    first = run(ask(backend, ids, layout))
    for order in ((2, 1, 0), (1, 0, 2), (1, 2, 0)):
        assert run(ask(backend, *reordered(ids, layout, order)))[:2] == first[:2]


def test_a_context_that_is_there_twice_weighs_more(backend: HFBackend) -> None:
    layout = LAYOUTS["three"]
    ids = ids_for(layout)
    once = run(backend.score_parallel(ids, layout, layout.end + 1))
    again, longer = reordered(ids, layout, (0, 1, 1, 2))
    twice = run(backend.score_parallel(again, longer, longer.end + 1))
    assert max(abs(a - b) for a, b in zip(once, twice, strict=True)) > 1e-3


def test_many_requests_at_once_are_those_of_one_by_one(backend: HFBackend) -> None:
    """Plain ones and others, with different contexts, in one batch."""
    rng = random.Random(3)
    asks: list[tuple[list[int], Layout | None]] = []
    for n in range(24):
        lengths = tuple(rng.randint(1, 20) for _ in range(rng.randint(1, 9)))
        layout = Layout(rng.randint(0, 6), lengths, rng.choice((0.5, 0.9, 1)), 0.8)
        asks.append((ids_for(layout, rng.randint(1, 40), n), layout if n % 3 else None))

    async def one(ids: list[int], layout: Layout | None) -> tuple[list[int], list[float]]:
        if layout is None:
            whole = await collect(backend, ids, GREEDY)
            return whole.ids, whole.logprobs
        return (await ask(backend, ids, layout))[:2]

    async def together() -> list[tuple[list[int], list[float]]]:
        return await asyncio.gather(*(one(*each) for each in asks))

    assert backend.info.reproducible == "always"
    at_once = run(together())
    assert at_once == [run(one(*each)) for each in asks]


def test_a_long_query_in_several_passes_is_that_of_one(backend: HFBackend) -> None:
    """A pass holds so many rows; a query of more is computed in parts, chunk after chunk."""
    layout = LAYOUTS["three"]
    ids = ids_for(layout, 400)
    apart = tiny.model("llama")
    out, logprobs, _ = run(ask(backend, ids, layout))
    assert out == reference.greedy(apart, ids, layout, 10)
    expected = reference.logprobs(apart, ids + out, layout, len(ids))
    assert logprobs == pytest.approx(expected, abs=1e-4)


def test_what_is_written_does_not_change_what_came_before(backend: HFBackend) -> None:
    layout = LAYOUTS["three"]
    ids = ids_for(layout)
    before = run(backend.score_parallel(ids, layout, layout.end + 1))
    ids[-1] = (ids[-1] + 1) % tiny.WORDS
    after = run(backend.score_parallel(ids, layout, layout.end + 1))
    assert before[:-1] == after[:-1] and before[-1] != after[-1]


def test_positions_are_what_must_fit_not_tokens() -> None:
    """Forty contexts of 12 tokens in a model of 48 positions."""
    model = tiny.model("llama", max_position_embeddings=48)
    apart = copy.deepcopy(model)
    layout = Layout(4, (12,) * 40, 0.9, 0.9)
    ids = ids_for(layout)
    with serving(model) as found:
        out, _, last = run(ask(found, ids, layout, GREEDY.but(max_tokens=100)))
        assert (len(out), last.finish) == (48 - 4 - 12 - REST, "length")
        assert out == reference.greedy(apart, ids, layout, len(out))
        with pytest.raises(BackendError, match=r"context 2 has 44 tokens behind a prefix of 4"):
            run(ask(found, ids_for(Layout(4, (3, 44))), Layout(4, (3, 44))))


def test_contexts_are_encoded_once(backend: HFBackend) -> None:
    layout = Layout(6, (10, 12), 0.9, 0.9)
    ids = ids_for(layout, seed=77)
    cached = []
    for order, temperature in (((0, 1), 0.9), ((1, 0), 0.9), ((0, 1), 0.5), ((1,), 0.9)):
        whole, other = reordered(ids, replace(layout, temperature=temperature), order)
        last = run(ask(backend, whole, other))[2]
        assert last.usage is not None
        cached.append(last.usage.cached_tokens)
    assert cached[0] < 22  # perhaps the prefix: it is shared with other sequences
    assert cached[1] >= 22 and cached[2] >= 22 and cached[3] >= 12


def test_memory_of_contexts_is_bounded() -> None:
    with serving(tiny.model("llama"), context_gib=200 * 512 / 2**30) as found:
        row = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, dim, bytes
        assert found.contexts.cache.budget == 200 * 512 and row == 512
        for seed in range(9):
            layout = Layout(2, (30, 20))
            run(ask(found, ids_for(layout, seed=seed), layout))
            assert found.contexts.cache.size <= 200 * 512
        assert 1 <= len(found.contexts.cache) < 9 * 2
        with pytest.raises(BackendError, match=r"4 contexts of 120 tokens take .* context_gib is"):
            run(ask(found, ids_for(Layout(0, (30,) * 4)), Layout(0, (30,) * 4)))


def test_new_weights_do_not_read_old_contexts() -> None:
    layout = LAYOUTS["three"]
    ids = ids_for(layout)
    model, other = tiny.model("llama"), tiny.model("llama", seed=5)
    with serving(model) as found:
        before = run(ask(found, ids, layout))
        model.load_state_dict(other.state_dict())
        found.forget()
        after = run(ask(found, ids, layout))
    assert after[0] == reference.greedy(other, ids, layout, 10) != before[0]


def test_a_caller_who_goes_away_leaves_nothing_running(backend: HFBackend) -> None:
    layout = Layout(4, (60,) * 5)

    async def main() -> None:
        stream = backend.generate_parallel(ids_for(layout, seed=5), layout, GREEDY)
        await anext(stream)
        await stream.aclose()
        while backend.running:
            await asyncio.sleep(0.01)

    run(asyncio.wait_for(main(), 20))


def test_bf16_with_log_sum_exps_beyond_32() -> None:
    """They stay fp32: rounded to bf16 the odds of the two groups would be off by percents."""
    torch.manual_seed(0)
    query = torch.randn(3, 2, 2, 16) * 6
    key, value = torch.randn(3, 2, 500, 16) * 3, torch.randn(3, 2, 500, 16)

    def halves(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
        q, k, v = (x.to(dtype) for x in (query, key, value))
        cuts = ((slice(0, 480), 0.9), (slice(480, 500), 1.0))
        return [with_lse(q, k[:, :, cut], v[:, :, cut], None, 0.25, None, t) for cut, t in cuts]

    parts, few = halves(torch.float32), halves(torch.bfloat16)
    assert parts[0][1].min() > 32
    exact = merged(parts[0], parts[1], 0.81)
    assert all(lse.dtype == torch.float32 for _, lse in few)
    assert merged(few[0], few[1], 0.81).dtype == torch.bfloat16
    assert merged(few[0], few[1], 0.81).float() == pytest.approx(exact, abs=6e-2)


def test_the_limits_of_scale_and_temperature() -> None:
    """S to 0: the contexts weigh 1 to exp(L_O). A tiny T with S = 1: T * L_C is the largest logit.
    A factor on a negative log-sum-exp works the other way round."""
    torch.manual_seed(1)
    query, key, value = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 9, 8), torch.randn(1, 1, 9, 8)
    rest = with_lse(query, key[:, :, 5:], value[:, :, 5:], None, 1.0)
    whole = with_lse(query, key[:, :, :5], value[:, :, :5], None, 1.0)
    share = 1 / (1 + rest[1].exp())
    expected = share[..., None] * whole[0] + (1 - share[..., None]) * rest[0]
    assert torch.allclose(merged(whole, rest, 0.0), expected, atol=1e-6)
    cold = with_lse(query, key[:, :, :5], value[:, :, :5], None, 1.0, None, 1e-3)
    logits = (query @ key[:, :, :5].transpose(-1, -2))[0, 0, 0]
    assert (cold[1] * 1e-3).item() == pytest.approx(logits.max().item(), abs=1e-2)
    ones, zeros = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    for lse, more in ((2.0, True), (-2.0, False)):
        group = (ones, torch.full((1, 1, 1), lse))
        other = (zeros, torch.zeros(1, 1, 1))
        assert (merged(group, other, 1.2) > merged(group, other, 0.8)).item() is more


def test_a_cap_goes_before_the_temperature() -> None:
    torch.manual_seed(2)
    query, key, value = torch.randn(2, 2, 3, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    out, lse = with_lse(query, key, value, None, 0.5, 2.0, 0.7)
    logits = torch.tanh(query @ key.transpose(-1, -2) * 0.5 / 2.0) * 2.0 / 0.7
    assert torch.allclose(lse, logits.logsumexp(-1), atol=1e-5)
    assert torch.allclose(out, logits.softmax(-1) @ value, atol=1e-5)


def test_one_group_is_not_one_context_after_another() -> None:
    """Merged context by context the result is another one, but for S*T = 1 or one context."""
    torch.manual_seed(3)
    query, key, value = torch.randn(1, 1, 4, 8), torch.randn(1, 1, 12, 8), torch.randn(1, 1, 12, 8)
    rest = with_lse(query, key[:, :, 8:], value[:, :, 8:], None, 1.0)

    def by_context(factor: float, t: float) -> torch.Tensor:
        parts = [with_lse(query, key[:, :, i : i + 4], value[:, :, i : i + 4], None, 1.0, None, t)
                 for i in (0, 4)]  # fmt: skip
        weights = torch.stack([factor * lse for _, lse in parts] + [rest[1]], -1).softmax(-1)
        outs = torch.stack([out for out, _ in parts] + [rest[0]], -1)
        return (outs * weights[..., None, :]).sum(-1)

    def as_one(factor: float, t: float) -> torch.Tensor:
        group = with_lse(query, key[:, :, :8], value[:, :, :8], None, 1.0, None, t)
        return merged(group, rest, factor)

    assert torch.allclose(as_one(1.0, 0.9), by_context(1.0, 0.9), atol=1e-6)
    assert (as_one(0.5, 0.5) - by_context(0.5, 0.5)).abs().max() > 1e-2


def test_what_cannot_be_read_side_by_side_is_refused(backend: HFBackend) -> None:
    layout = Layout(2, (3,))
    with pytest.raises(BackendError, match=r"prefix and contexts are 5 tokens, .* a query behind"):
        run(ask(backend, ids_for(layout, 0), layout))
    with pytest.raises(BackendError, match=r"start is 5; expected more than 5"):
        run(backend.score_parallel(ids_for(layout), layout, 5))
    model = tiny.model("llama", rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    with serving(model) as found, pytest.raises(Unsupported, match="has dynamic rotary positions"):
        run(ask(found, ids_for(layout), layout))


def test_a_model_without_rotary_positions_is_refused() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=62, n_embd=32, n_layer=1, n_head=2, n_positions=512,
                        bos_token_id=None, eos_token_id=None)  # fmt: skip
    layout = Layout(2, (3,))
    with serving(GPT2LMHeadModel(config).eval()) as found:
        with pytest.raises(Unsupported, match=r"has no rotary positions; .*: parallel=false"):
            run(ask(found, ids_for(layout), layout))
        assert len(run(collect(found, ids_for(layout), GREEDY)).ids) == 10


@pytest.mark.parametrize(
    "numbers, said",
    [
        ({"prefix": -1, "contexts": (2,)}, "a prefix of 0 tokens or more"),
        ({"prefix": 1, "contexts": ()}, "contexts of 1 or more, got 1 and"),
        ({"prefix": 1, "contexts": (2, 0)}, r"got 1 and \[2, 0\]"),
        ({"prefix": 1, "contexts": (2,), "temperature": 0}, r"T must be in \(0, 2\], got 0"),
        ({"prefix": 1, "contexts": (2,), "temperature": float("nan")}, "T must be in"),
        ({"prefix": 1, "contexts": (2,), "scale": -0.1}, r"S must be in \[0, 10\], got -0.1"),
    ],
)
def test_numbers_out_of_range(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Layout(**numbers)


@pytest.mark.parametrize("fused", (True, False))
@pytest.mark.parametrize("width", (8, 6))
@pytest.mark.parametrize("softcap", (None, 2.0))
@pytest.mark.parametrize("masked", (True, False))
def test_keys_of_all_rows_are_gone_through_once(
    masked: bool, softcap: float | None, width: int, fused: bool
) -> None:
    torch.manual_seed(4)
    query, key = torch.randn(5, 2, 3, 8), torch.randn(1, 2, 7, 8)
    value = torch.randn(1, 2, 7, width)
    mask = torch.zeros(5, 7).masked_fill_(torch.rand(5, 7) < 0.4, float("-inf")) if masked else None
    if mask is not None:
        mask[:, 0] = 0.0
    once = with_lse(query, key, value, mask, 0.5, softcap, 0.7)
    keys, values = (x.expand(5, -1, -1, -1) for x in (key, value))
    each = with_lse(query, keys, values, mask, 0.5, softcap, 0.7, fused)
    assert [x.shape for x in once] == [(5, 2, 3, width), (5, 2, 3)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(once, each, strict=True))
