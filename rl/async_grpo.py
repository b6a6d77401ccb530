"""TRL's experimental AsyncGRPOTrainer on machines without FlashAttention 3: CPUs, and others.

Its rows are tries (rl/layouts.py), its attention a kernel of the hub. `attend_by_tiles` puts ours
in its place: the same rows, the same figures.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface
from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_grpo_trainer
from trl.experimental.async_grpo.packing import TREE_ATTENTION

from rl.attention import Tile, tiles, tree_attention


def last_desc_of(paths: Tensor, ends: Tensor, path_ends: Tensor) -> Tensor:
    """The interval vector of a row from TRL's segments: where each ends, and the path that leads
    to each, its own tokens included."""
    index, starts = paths.cpu().numpy(), path_ends.cpu().numpy()
    found = np.zeros(int(ends[-1]), np.int64)
    for segment, end in enumerate(ends[1:].tolist()):
        path = index[starts[segment] : starts[segment + 1]]
        found[path] = np.maximum(found[path], end)
    return torch.from_numpy(found)


class _ByTiles:
    """An attention function that plans a row once for all layers."""

    def __init__(self) -> None:
        self._row: Tensor | None = None
        self._plan: tuple[Tile, ...] = ()

    def __call__(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        tree_kv_index: Tensor,
        tree_cu_seqlens_q: Tensor,
        tree_cu_seqlens_k: Tensor,
        scaling: float | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        if self._row is not tree_kv_index:
            last = last_desc_of(tree_kv_index, tree_cu_seqlens_q, tree_cu_seqlens_k)
            self._row, self._plan = tree_kv_index, tiles(last.to(query.device))
        sizes = {"tree_max_seqlen_q", "tree_max_seqlen_k"}
        rest = {name: given for name, given in others.items() if name not in sizes}
        return tree_attention(
            module, query, key, value, attention_mask, scaling, tree=self._plan, **rest
        )


def attend_by_tiles() -> None:
    """Replace the kernel of the hub. After the trainer is made, which registers that one."""
    AttentionInterface.register(TREE_ATTENTION, _ByTiles())


def trainer_of(model: str, args: AsyncGRPOConfig, **parts: Any) -> AsyncGRPOTrainer:
    """The trainer on this machine; `parts` are TRL's own arguments, a worker and a transfer among
    them."""
    if torch.cuda.is_available():
        return AsyncGRPOTrainer(model, args=args, **parts)
    known = async_grpo_trainer.get_peak_flops_per_device
    # It asks CUDA for the name of the device; without one there is no peak to compare with.
    async_grpo_trainer.get_peak_flops_per_device = lambda accelerator, dtype: None
    try:
        trainer = AsyncGRPOTrainer(model, args=args, **parts)
    finally:
        async_grpo_trainer.get_peak_flops_per_device = known
    attend_by_tiles()
    return trainer
