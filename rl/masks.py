"""What a model is called with for a packed row, by the attention that it is set to.

Two calls go wrong without a word: a mask of booleans with "eager" attention, which adds them as 0
and 1, and positions of a trie without a mask, from which transformers guesses packed documents.
`guard` refuses both.
"""

from typing import Any

import torch
from torch import Tensor

from reason.errors import UsageError
from rl.attention import NAME, tiles, tree_attention
from rl.layouts import Layout

FLEX = "flex_attention"
SERVED = (NAME, "sdpa", "eager", FLEX)
"""Implementations that packed rows can be computed with. "flex_attention" is for GPUs: it has no
backward pass on the CPU (torch 2.13)."""


def register() -> None:
    """Make "tree" an attention that models of transformers can be set to."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(**_: Any) -> None:
    """The plan of tiles stands in for it."""


def implementation(model: Any) -> str:
    """What attention a model is set to."""
    return str(getattr(model.config, "_attn_implementation", None))


def visible(last_desc: Tensor) -> Tensor:
    """[N, N], True where the query (row) sees the key (column): itself and what is above it."""
    places = torch.arange(len(last_desc), device=last_desc.device)
    return (places <= places[:, None]) & (places[:, None] < last_desc)


def arguments(layout: Layout, attention: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What a causal language model set to that attention is called with, for the row alone.

    Raises UsageError for an attention that has no mask of its own shape.
    """
    given: dict[str, Any] = {
        "input_ids": layout.input_ids[None],
        "position_ids": layout.position_ids[None],
        "use_cache": False,
    }
    if attention == NAME:
        return given | {"attention_mask": None, "tree": tiles(layout.last_desc)}
    if attention == "sdpa":
        return given | {"attention_mask": visible(layout.last_desc)[None, None]}
    if attention == "eager":
        return given | {"attention_mask": additive(layout.last_desc, dtype)[None, None]}
    if attention == FLEX:
        return given | {"attention_mask": block_mask(layout.last_desc)}
    raise UsageError(
        f"attention {attention!r} takes no mask of a trie: set the model to one of "
        f"{', '.join(SERVED)}"
    )


def additive(last_desc: Tensor, dtype: torch.dtype) -> Tensor:
    """[N, N], 0 where a key is seen and the lowest number where not."""
    hidden = ~visible(last_desc)
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
        hidden, torch.finfo(dtype).min
    )


def block_mask(last_desc: Tensor) -> Any:
    """The BlockMask of flex_attention: the blocks of 128 x 128 that anything is seen in."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < last_desc[key])

    length = len(last_desc)
    return create_block_mask(seen, None, None, length, length, device=str(last_desc.device))


def guard(model: Any) -> Any:
    """Let the model refuse the calls that go wrong without a word; `.remove()` ends it."""
    return model.register_forward_pre_hook(_check, with_kwargs=True)


def _check(model: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    mask: Any = given.get("attention_mask")
    positions, attention = given.get("position_ids"), implementation(model)
    dense = isinstance(mask, Tensor) and mask.dim() == 4
    if dense and mask.dtype == torch.bool and attention == "eager":
        raise UsageError(
            "a mask of booleans with eager attention, which would add them as 0 and 1: give "
            "masks.additive, or set the model to sdpa"
        )
    if dense and attention not in ("sdpa", "eager"):
        raise UsageError(f"a mask of four dimensions, which {attention} attention does not take")
    begins_anew = positions is not None and bool((positions.diff(dim=-1) != 1).any())
    if begins_anew and mask is None and given.get("tree") is None:
        raise UsageError(
            "positions of a trie without a mask, from which transformers would guess packed "
            "documents: call the model with masks.arguments(layout, attention)"
        )
