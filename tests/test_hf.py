"""What the hf backend computes, against independent computations of the same things."""

from collections import Counter

import numpy as np
import pytest
import torch

from reason.backends.hf import HFBackend
from reason.types import SamplingParams
from tests import tiny
from tests.driving import GREEDY, collect, gather, prompt, reference, run


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_greedy_tokens_are_those_of_generate(kind: str, kv_heads: int) -> None:
    prompts = [prompt(n, 1 + 13 * n) for n in range(6)]
    expected = [reference(tiny.model(kind, kv_heads=kv_heads), ids, 30) for ids in prompts]
    backend = HFBackend(tiny.model(kind, kv_heads=kv_heads), tiny.words(), max_batch=4)
    wholes = gather(backend, [(ids, GREEDY.but(max_tokens=30)) for ids in prompts])
    assert [w.ids for w in wholes] == expected
    run(backend.close())


def test_prompts_longer_than_a_pass_are_computed_in_pieces() -> None:
    model = tiny.model("llama", max_position_embeddings=2048)
    ids = prompt(1, 1500)
    expected = reference(model, ids, 20)
    backend = HFBackend(model, tiny.words())
    wholes = gather(backend, [(ids[:40], GREEDY), (ids, GREEDY.but(max_tokens=20)), (ids, GREEDY)])
    assert wholes[1].ids == expected
    assert wholes[2].ids[:20] == expected
    assert wholes[2].last.usage.cached_tokens == len(ids) - 1
    run(backend.close())


def test_the_model_is_itself_again_after_close() -> None:
    model = tiny.model("qwen3")
    ids = torch.tensor([prompt(3, 20)])
    before = model(ids).logits
    stock = model.config._attn_implementation
    backend = HFBackend(model, tiny.words())
    assert torch.allclose(model(ids).logits, before, atol=1e-5)  # also while it is served
    run(collect(backend, ids[0].tolist(), GREEDY))
    run(backend.close())
    assert model.config._attn_implementation == stock
    assert torch.equal(model(ids).logits, before)


def distribution(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """What should be sampled from, one token at a time and in plain loops."""
    scaled = logits.astype(np.float64) / params.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = sorted(range(len(p)), key=lambda i: -p[i])
    kept = order[: params.top_k] if params.top_k else order
    mass = sum(p[i] for i in kept)
    nucleus, total = [], 0.0
    for i in kept:
        if total >= params.top_p:
            break
        nucleus.append(i)
        total += p[i] / mass
    nucleus = [i for i in nucleus if p[i] >= params.min_p * p[order[0]]]
    out = np.zeros_like(p)
    out[nucleus] = p[nucleus]
    return out / out.sum()


@pytest.fixture(scope="module")
def small() -> HFBackend:
    return HFBackend(tiny.model("llama", vocabulary=12, initializer_range=0.15), tiny.words())


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.6),
        SamplingParams(temperature=1.7, top_k=5),
        SamplingParams(top_p=0.7),
        SamplingParams(min_p=0.3),
        SamplingParams(temperature=1.3, top_k=9, top_p=0.85, min_p=0.1),
    ],
    ids=str,
)
def test_samples_follow_the_distribution(small: HFBackend, params: SamplingParams) -> None:
    ids = [3, 1, 4, 1, 5]
    with torch.inference_mode():
        logits = tiny.model("llama", vocabulary=12, initializer_range=0.15)(
            torch.tensor([ids])
        ).logits[0, -1]
    expected = distribution(logits.numpy(), params)
    n = 3000
    asks = [(ids, params.but(max_tokens=1, seed=seed)) for seed in range(n)]
    seen = Counter(whole.ids[0] for whole in gather(small, asks))
    assert all(expected[token] > 0 for token in seen)
    kept = expected > 0
    observed = np.array([seen[i] for i in range(12)])[kept]
    chi2 = float(((observed - n * expected[kept]) ** 2 / (n * expected[kept])).sum())
    # Mean k - 1 and variance 2 (k - 1): five deviations above is a failure, not bad luck.
    free = kept.sum() - 1
    assert chi2 < free + 5 * (2 * free) ** 0.5 + 1


def test_logprobs_are_those_of_the_untouched_distribution(small: HFBackend) -> None:
    ids = [3, 1, 4, 1, 5]
    params = SamplingParams(temperature=0.3, top_k=3, max_tokens=12, seed=5)
    whole = run(collect(small, ids, params))
    with torch.inference_mode():
        logits = tiny.model("llama", vocabulary=12, initializer_range=0.15)(
            torch.tensor([ids + whole.ids])
        ).logits[0]
    table = torch.log_softmax(logits, -1)
    expected = [table[len(ids) - 1 + n, token].item() for n, token in enumerate(whole.ids)]
    assert whole.logprobs == pytest.approx(expected, abs=1e-4)
