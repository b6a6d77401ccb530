"""Choosing the next token of many requests at once, each by its own parameters and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from reason.types import SamplingParams

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HEAD = 1024
"""How many of the likeliest tokens are looked at before all of them."""

_COLDEST = 1e-5
"""Below this temperature dividing by it would overflow; decoding is greedy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Sampling parameters as columns, one entry per request; see `SamplingParams`."""

    temperature: npt.NDArray[np.float32]
    top_p: npt.NDArray[np.float32]
    top_k: npt.NDArray[np.int64]
    min_p: npt.NDArray[np.float32]
    seed: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Self:
        """Columns of the parameters of some requests; seeds in [0, 2**64)."""
        return cls(
            np.array([p.temperature for p in params], np.float32),
            np.array([p.top_p for p in params], np.float32),
            np.array([p.top_k for p in params], np.int64),
            np.array([p.min_p for p in params], np.float32),
            np.array(seeds, np.uint64),
        )

    def random(self) -> npt.NDArray[np.int64]:
        """Rows that are sampled; the others are greedy."""
        return np.flatnonzero(self.temperature >= _COLDEST)

    def truncated(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these rows keep only some tokens."""
        kept = (self.top_p[rows] < 1) | (self.top_k[rows] > 0) | (self.min_p[rows] > 0)
        return np.asarray(kept, dtype=np.bool_)


def uniform(seed: npt.NDArray[np.uint64], count: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each pair of a seed and the count of tokens sampled before.

    A function of the pair alone, so that a request draws the same numbers whatever runs beside it.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(_mix(seed + _GOLDEN) + (count + np.uint64(1)) * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sample(
    logits: torch.Tensor, settings: Settings, count: npt.NDArray[np.uint64]
) -> tuple[list[int], list[float]]:
    """Next token and its log-probability for each row of `logits` [rows, vocabulary], fp32.

    `count` holds how many tokens each row has sampled already. Temperature comes first, then
    `top_k`, then `top_p` over what is left, then `min_p` relative to the likeliest token.
    Log-probabilities are those of the untouched logits.
    """
    tokens = logits.argmax(-1)
    rows = settings.random()
    if rows.size:
        noise = torch.from_numpy(uniform(settings.seed[rows], count[rows])).to(logits.device)
        everything = rows.size == len(tokens)
        chosen = logits if everything else logits[_tensor(rows, logits)]
        scaled = chosen / _tensor(settings.temperature[rows], logits)[:, None]
        cut = settings.truncated(rows)
        if cut.all():
            drawn = _draw_truncated(scaled, settings, rows, noise)
        elif not cut.any():
            drawn = _draw(torch.softmax(scaled, -1), noise)
        else:
            drawn = torch.empty(rows.size, dtype=torch.long, device=logits.device)
            for part, draw in ((cut, True), (~cut, False)):
                where = _tensor(np.flatnonzero(part), logits)
                drawn[where] = (
                    _draw_truncated(scaled[where], settings, rows[part], noise[where])
                    if draw
                    else _draw(torch.softmax(scaled[where], -1), noise[where])
                )
        tokens = drawn if everything else tokens.index_copy(0, _tensor(rows, logits), drawn)
    picked = logprobs(logits, tokens)
    return tokens.tolist(), picked.tolist()


def logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of one token per row under softmax(logits), fp32."""
    return torch.log_softmax(logits.float(), -1).gather(-1, tokens[:, None])[:, 0]


def _tensor(array: npt.NDArray[np.generic], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.device)


def _draw(probabilities: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Invert the cumulative distribution, which need not add up to one, at `noise` in [0, 1)."""
    total = probabilities.cumsum(-1, dtype=torch.float64)
    at = (noise * total[:, -1])[:, None]
    # right=True: the first token whose sum exceeds the draw, so never one of probability zero.
    return torch.searchsorted(total, at, right=True)[:, 0].clamp_(max=total.shape[-1] - 1)


def _draw_truncated(
    scaled: torch.Tensor,
    settings: Settings,
    rows: npt.NDArray[np.int64],
    noise: torch.Tensor,
) -> torch.Tensor:
    top_k, top_p, min_p = (
        _tensor(column[rows], scaled)[:, None]
        for column in (settings.top_k, settings.top_p, settings.min_p)
    )
    everything = torch.softmax(scaled, -1)
    size = everything.shape[-1]
    if size <= _HEAD:
        values, order = everything.sort(stable=True, dim=-1, descending=True)
        return _draw_sorted(values, order, top_k, top_p, min_p, noise)
    # Sorting a large vocabulary is slow, and the likeliest tokens are nearly always enough. Each
    # row decides for itself, so that the others cannot change its result.
    values, order = everything.topk(_HEAD)
    enough = (top_k > 0) & (top_k <= _HEAD)
    last = (values.sum(-1, keepdim=True) > top_p) | (values[:, -1:] < min_p * values[:, :1])
    enough |= (top_k == 0) & last
    drawn = _draw_sorted(values, order, top_k, top_p, min_p, noise)
    rest = (~enough[:, 0]).nonzero()[:, 0]
    if len(rest):
        values, order = everything[rest].sort(stable=True, dim=-1, descending=True)
        drawn[rest] = _draw_sorted(
            values, order, top_k[rest], top_p[rest], min_p[rest], noise[rest]
        )
    return drawn


def _draw_sorted(
    values: torch.Tensor,
    order: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Draw from what the limits leave of descending probabilities; `order` has their tokens."""
    rank = torch.arange(values.shape[-1], device=values.device)
    drop = (top_k > 0) & (rank >= top_k)
    values = values.masked_fill(drop, 0.0)
    before = values.cumsum(-1, dtype=torch.float64)
    mass = torch.where(top_k > 0, before[:, -1:], 1.0)
    drop |= before - values >= top_p * mass
    drop |= values < min_p * values[:, :1]
    drop[:, 0] = False
    place = _draw(values.masked_fill(drop, 0.0), noise)
    return order.gather(-1, place[:, None])[:, 0]
