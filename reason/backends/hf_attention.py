"""Attention over slots: what a model of transformers calls in place of its own attention.

A batch is one row of tokens, [1, rows]: those of many sequences side by side. Everything but
attention treats tokens one by one, so that only attention needs to know which belongs where.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from reason.backends.hf_contexts import Beside
from reason.backends.hf_slots import SlotCache
from reason.backends.parallel_attention import with_lse
from reason.errors import Unsupported

NAME = "reason_slots"

_BEYOND = ("s_aux", "position_bias")
"""Arguments of attention kinds that are not computed here."""


@dataclass(slots=True)
class Run:
    """Rows [start, stop) of a batch that are attended to in one call."""

    start: int
    stop: int
    slot: int
    """The first row's slot."""
    length: int
    """How much of each slot is read."""
    shared: bool
    """Whether all rows belong to this one slot, or to consecutive ones, one row each."""
    beside: Beside | None = None
    """Contexts that all rows read beside their slots."""


@dataclass(slots=True)
class Batch:
    """What the attention of one forward pass needs to know."""

    cache: SlotCache
    padding: int
    """Rows at the front that belong to no sequence."""
    slots: npt.NDArray[np.int64]
    """Slot of each of the other rows."""
    positions: npt.NDArray[np.int64]
    mask: torch.Tensor
    """[rows without padding, longest read], added to the scores."""
    runs: list[Run]
    exact: bool
    """Compute each row as if it were alone, so that its bits do not depend on the others."""
    fused: bool
    """Use the kernels that never hold the scores."""
    layers: int = 0
    _places: dict[int, torch.Tensor] = field(default_factory=dict)

    def places(self, heads: int) -> torch.Tensor:
        """Flat index of each (slot, head, position): for each row, all heads."""
        if heads not in self._places:
            flat = (self.slots[:, None] * heads + np.arange(heads)) * self.cache.width
            flat += self.positions[:, None]
            self._places[heads] = torch.from_numpy(flat.reshape(-1)).to(self.mask.device)
        return self._places[heads]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    reason_batch: Batch | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of query [1, heads, rows, dim] over the slots of a batch: [1, rows, heads, dim].

    Without a batch, the stock attention: the model can still be trained or used directly.
    """
    if reason_batch is None:
        if softcap is not None:
            raise Unsupported("attention with a soft-cap is computed here over slots only")
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, **other
        )
    for name in _BEYOND:
        if other.get(name) is not None:
            raise Unsupported(f"attention with {name} is not implemented by the hf backend")
    batch = reason_batch
    q, k, v = (x[0].transpose(0, 1)[batch.padding :] for x in (query, key, value))
    keys, values = batch.cache.write(batch.layers, batch.places(k.shape[1]), k, v)
    layer, batch.layers = batch.layers, batch.layers + 1
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    grouped = q.shape[1] != k.shape[1]
    out = q.new_zeros(query.shape[2], q.shape[1], v.shape[2])
    rows = out[batch.padding :]
    for run in batch.runs:
        mask = batch.mask[run.start : run.stop, : run.length]
        mine = q[run.start : run.stop]
        if not run.shared:
            ks, vs = (x[run.slot : run.slot + len(mine), :, : run.length] for x in (keys, values))
        else:
            ks, vs = (x[run.slot : run.slot + 1, :, : run.length] for x in (keys, values))
        if run.beside or softcap is not None or not batch.fused:
            if batch.exact:
                ks, vs = (x.expand(len(mine), -1, -1, -1) for x in (ks, vs))
            if run.beside:
                seen = run.beside.attend(
                    layer, mine, ks, vs, mask, scale, softcap, batch.exact, batch.fused
                )
            else:
                groups = mine.view(len(mine), ks.shape[1], -1, mine.shape[-1])
                seen, _ = with_lse(groups, ks, vs, mask, scale, softcap, fused=batch.fused)
            rows[run.start : run.stop] = seen.reshape(len(mine), *out.shape[1:])
            continue
        if run.shared and not batch.exact:
            answer = scaled_dot_product_attention(
                mine.transpose(0, 1)[None],
                ks,
                vs,
                attn_mask=mask[None, None],
                scale=scaling,
                enable_gqa=grouped,
            )
            rows[run.start : run.stop] = answer[0].transpose(0, 1)
            continue
        if run.shared:
            ks, vs = (x.expand(len(mine), -1, -1, -1) for x in (ks, vs))
        answer = scaled_dot_product_attention(
            mine[:, :, None],
            ks,
            vs,
            attn_mask=mask[:, None, None],
            scale=scaling,
            enable_gqa=grouped,
        )
        rows[run.start : run.stop] = answer[:, :, 0]
    return out[None], None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
