"""Attention over a trie without an N x N mask, fast on a CPU: by tiles of consecutive queries.

The keys that some query of a tile sees are the path above it and the tile itself, a few stretches
of the row. The backward pass computes a tile again, and adds up gradients in place, which autograd
over slices of the row would not. Registered with transformers as "tree"; `tiles` makes the plan
that the model is called with, once for all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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
    seen: Tensor
    """[end - start, K], True where a query sees a key."""

    def queries(self, values: Tensor) -> Tensor:
        """[heads, N, size] -> [heads, end - start, size]."""
        return values[:, self.start : self.end]

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
        seen = (keys <= queries) & (queries < ends[keys])
        mask = torch.from_numpy(seen).to(last_desc.device)
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
        ctx.save_for_backward(query, key, value)
        ctx.tree, ctx.scale = tree, scale
        out = torch.empty(query.shape, dtype=value.dtype, device=query.device)
        for tile in tree:
            mixed = _mixed(tile.queries(query), tile.keys(key), tile.keys(value), tile, scale)
            out[:, tile.start : tile.end] = mixed
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        d_query, d_key, d_value = torch.empty_like(query), *map(torch.zeros_like, (key, value))
        for tile in ctx.tree:
            parts = (tile.queries(query), tile.keys(key), tile.keys(value))
            q, k, v = (part.detach().requires_grad_() for part in parts)
            with torch.enable_grad():
                mixed = _mixed(q, k, v, tile, ctx.scale)
            found = torch.autograd.grad(mixed, (q, k, v), tile.queries(grads[0]))
            d_query[:, tile.start : tile.end] = found[0]
            tile.add(d_key, found[1])
            tile.add(d_value, found[2])
        return d_query, d_key, d_value, None, None


def _mixed(query: Tensor, key: Tensor, value: Tensor, tile: Tile, scale: float) -> Tensor:
    """Attention of one tile. Heads that share a key are the heads of one batch row each, so that
    no key is copied for them."""
    shared = (len(key), len(query) // len(key))
    mixed = F.scaled_dot_product_attention(
        query.view(*shared, *query.shape[1:]),
        key[:, None].expand(*shared, -1, -1),
        value[:, None].expand(*shared, -1, -1),
        attn_mask=tile.seen,
        scale=scale,
    )
    return mixed.flatten(0, 1)
