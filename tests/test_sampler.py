"""Choosing tokens for many rows at once, against one row at a time in plain loops."""

import numpy as np
import pytest
import torch

from reason.backends.sampler import Settings, logprobs, sample, uniform
from reason.types import SamplingParams


def chosen(logits: np.ndarray, params: SamplingParams, noise: float) -> int:
    """The token at `noise` on the cumulative distribution; likeliest first if any is cut off."""
    if params.temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / params.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = list(range(len(p)))
    if params.top_p < 1 or params.top_k or params.min_p:
        order.sort(key=lambda i: -p[i])
        best = p[order[0]]
        order = order[: params.top_k or None]
        mass, kept, total = sum(p[i] for i in order), [], 0.0
        for i in order:
            if total >= params.top_p * mass or p[i] < params.min_p * best:
                break
            kept.append(i)
            total += p[i]
        order = kept
    sums = np.cumsum([p[i] for i in order])
    return order[int(np.searchsorted(sums, noise * sums[-1], side="right"))]


@pytest.mark.parametrize("vocabulary", [7, 300, 5000])
def test_each_row_by_its_own_parameters(vocabulary: int) -> None:
    rng = np.random.default_rng(vocabulary)
    params = [
        SamplingParams(
            temperature=float(rng.choice([0.0, 0.3, 1.0, 3.0])),
            top_p=float(rng.choice([1.0, 0.9, 0.3])),
            top_k=int(rng.choice([0, 0, 5, 2000])),
            min_p=float(rng.choice([0.0, 0.0, 0.02])),
        )
        for _ in range(200)
    ]
    logits = rng.normal(size=(200, vocabulary)).astype(np.float32) * 2
    seeds = rng.integers(0, 2**63, 200).astype(np.uint64)
    count = rng.integers(0, 1000, 200).astype(np.uint64)
    settings = Settings.of(params, seeds.tolist())
    tokens, picked = sample(torch.from_numpy(logits), settings, count)
    noise = uniform(seeds, count)
    expected = [chosen(*row) for row in zip(logits, params, noise, strict=True)]
    # A draw may fall within rounding of the border of two tokens, hardly ever twice.
    assert sum(a != b for a, b in zip(tokens, expected, strict=True)) <= 1
    table = torch.log_softmax(torch.from_numpy(logits), -1)
    assert picked == pytest.approx([table[n, t].item() for n, t in enumerate(tokens)], abs=1e-6)
    # The same alone.
    for n in range(0, 200, 7):
        one = Settings.of(params[n : n + 1], [int(seeds[n])])
        assert sample(torch.from_numpy(logits[n : n + 1]), one, count[n : n + 1])[0] == [tokens[n]]


def test_noise_is_uniform_and_depends_on_seed_and_count() -> None:
    seeds, counts = np.meshgrid(np.arange(100, dtype=np.uint64), np.arange(100, dtype=np.uint64))
    noise = uniform(seeds.ravel(), counts.ravel())
    assert len(np.unique(noise)) == 10_000
    assert noise.min() >= 0 and noise.max() < 1
    bins = np.histogram(noise, 20, (0, 1))[0]
    assert ((bins - 500) ** 2 / 500).sum() < 50
    along = noise.reshape(100, 100)
    for a, b in ((along[:-1], along[1:]), (along[:, :-1], along[:, 1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.04


def test_a_vanishing_temperature_is_greedy() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]] * 3)
    params = [SamplingParams(temperature=t) for t in (0, 1e-30, 1e-4)]
    tokens, _ = sample(logits, Settings.of(params, [1, 2, 3]), np.zeros(3, np.uint64))
    assert tokens == [1, 1, 1]


def test_logprobs_of_half_precision_are_computed_in_full() -> None:
    logits = torch.randn(4, 50).bfloat16()
    tokens = torch.tensor([1, 2, 3, 4])
    expected = torch.log_softmax(logits.double(), -1)[range(4), tokens]
    assert torch.allclose(logprobs(logits, tokens).double(), expected, atol=1e-5)
