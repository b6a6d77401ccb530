"""Attention over a trie without an N x N mask, fast on a CPU: by tiles of consecutive queries.

The keys that some query of a tile sees are the path above it and the tile itself, a few stretches
of the row. Scores of a tile are made, used and forgotten; the backward pass makes them again, as
flash attention does. Registered with transformers as "tree"; `tiles` makes the plan that the model
is called with, once for all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reason.errors import UsageError

NAME = "tree"
"""Of the implementation, for `model.set_attn_implementation`."""
TILE = 128
"""Queries of a tile."""


@dataclass(frozen=True, eq=False)
class Tile:
    """Queries start..end of a row, and the keys that they see."""

    start: int
    end: int
    stretches: tuple[tuple[int, int], ...]
    """Where the K keys stand, in order."""
    hidden: Tensor
    """[end - start, K], True where a query does not see a key."""

    def keys(self, values: Tensor) -> Tensor:
        """[heads, N, size] -> [heads, K, size]."""
        parts = [values[:, low:high] for low, high in self.stretches]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def add(self, to: Tensor, values: Tensor) -> None:
        """Add [heads, K, size] where these keys stand in [heads, N, size]."""
        at = 0
        for low, high in self.stretches:
            to[:, low:high] += values[:, at : at + high - low]
            at += high - low


def tiles(last_desc: Tensor, size: int = TILE) -> tuple[Tile, ...]:
    """The tiles of a row, from the vector that says what is below each token."""
    ends, found = last_desc.cpu().numpy(), []
    for start in range(0, len(ends), size):
        end = min(start + size, len(ends))
        keys = np.flatnonzero(ends[:end] > start)
        breaks = np.flatnonzero(np.diff(keys) > 1) + 1
        stretches = [(int(part[0]), int(part[-1]) + 1) for part in np.split(keys, breaks)]
        queries = np.arange(start, end)[:, None]
        hidden = (keys > queries) | (ends[keys] <= queries)
        mask = torch.from_numpy(hidden).to(last_desc.device)
        found.append(Tile(start, end, tuple(stretches), mask))
    return tuple(found)


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Sequence[Tile] | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls an attention implementation: [1, heads, N, size] of each.

    Raises UsageError for what a trie's tiles do not have: rows without a plan, several rows,
    dropout, sliding windows shorter than the row, soft caps and sinks.
    """
    if tree is None:
        raise UsageError(
            "attention over a trie was called without tree=tiles(layout.last_desc): a model whose "
            f"implementation is {NAME!r} serves packed rows only"
        )
    length = query.shape[2]
    lacks = [
        what
        for what, there in (
            ("several rows: pack them into one", len(query) > 1),
            (f"a plan for {tree[-1].end} tokens", tree[-1].end != length),
            ("a mask beside its plan", attention_mask is not None),
            ("dropout", dropout > 0),
            ("a sliding window", sliding_window is not None and sliding_window < length),
            ("a soft cap", others.get("softcap") is not None),
            ("attention sinks", others.get("s_aux") is not None),
        )
        if there
    ]
    if lacks:
        raise UsageError(
            f"attention over a trie of {length} tokens got {', '.join(lacks)}, which it cannot do"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed = _Tiled.apply(query[0], key[0], value[0], tree, scale)  # type: ignore[no-untyped-call]
    return mixed.transpose(0, 1)[None], None


class _Tiled(torch.autograd.Function):
    """[heads, N, size] queries, keys and values of as many heads or of fewer -> the same."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Sequence[Tile], scale: float
    ) -> Tensor:
        out = torch.empty(query.shape, dtype=value.dtype, device=query.device)
        norms = query.new_empty(query.shape[:2], dtype=torch.float32)
        for tile in tree:
            scores = _scores(query, key, tile, scale)
            norm = scores.logsumexp(-1)
            weights = (scores - norm[..., None]).exp_().to(value.dtype)
            mixed = weights @ tile.keys(value)
            out[:, tile.start : tile.end] = mixed.view(len(query), -1, value.shape[-1])
            norms[:, tile.start : tile.end] = norm.view(len(query), -1)
        ctx.save_for_backward(query, key, value, out, norms)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        query, key, value, out, norms = ctx.saved_tensors
        d_query, d_key, d_value = (torch.zeros_like(t) for t in (query, key, value))
        delta = (grad * out).float().sum(-1)  # [heads, N]
        for tile in ctx.tree:
            groups = len(key)

            def part(t: Tensor, groups: int = groups, tile: Tile = tile) -> Tensor:
                return t[:, tile.start : tile.end].reshape(groups, -1, *t.shape[2:])

            g, keys = part(grad), tile.keys(key)
            weights = (_scores(query, key, tile, ctx.scale) - part(norms)[..., None]).exp_()
            tile.add(d_value, weights.to(g.dtype).mT @ g)
            d_weights = (g @ tile.keys(value).mT).float()
            d_scores = (weights.mul_(d_weights.sub_(part(delta)[..., None]))).mul_(ctx.scale)
            d_scores = d_scores.to(query.dtype)
            d_query[:, tile.start : tile.end] = (d_scores @ keys).view(
                len(query), -1, query.shape[-1]
            )
            tile.add(d_key, d_scores.mT @ part(query))
        return d_query, d_key, d_value, None, None


def _scores(query: Tensor, key: Tensor, tile: Tile, scale: float) -> Tensor:
    """[key heads, queries of all heads that share them, K], -inf where nothing is seen."""
    groups, count = len(key), tile.end - tile.start
    rows = query[:, tile.start : tile.end].reshape(groups, -1, query.shape[-1])
    scores = (rows @ tile.keys(key).mT).float().mul_(scale)
    shaped = scores.view(groups, -1, count, scores.shape[-1])
    return shaped.masked_fill_(tile.hidden, -torch.inf).view_as(scores)
