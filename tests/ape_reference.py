"""Adaptive parallel encoding written down once more, in its dense form: one forward pass over all
tokens, with the mask, the positions and the weights of the paper's equation 5."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from reason.types import Layout

NAME = "ape_reference"
_now: list[Layout] = []


def positions(layout: Layout, length: int) -> list[int]:
    """All contexts begin behind the prefix; what follows stands behind the longest of them."""
    found = list(range(layout.prefix))
    for context in layout.contexts:
        found += range(layout.prefix, layout.prefix + context)
    first = layout.prefix + max(layout.contexts)
    return [*found, *range(first, first + length - len(found))]


def seen(layout: Layout, length: int) -> torch.Tensor:
    """[length, length]: whether a token (row) sees another."""
    part = [-1] * layout.prefix
    for number, context in enumerate(layout.contexts):
        part += [number] * context
    end = len(part)
    part += [-1] * (length - end)
    parts, index = torch.tensor(part), torch.arange(length)
    mine = (parts[None] == -1) | (parts[None] == parts[:, None]) | (index[:, None] >= end)
    return mine & (index[None] <= index[:, None])


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    scaling: float,
    softcap: float | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    layout = _now[-1]
    group = query.shape[1] // key.shape[1]
    k, v = (x.repeat_interleave(group, 1).double() for x in (key, value))
    z = query.double() @ k.transpose(-1, -2) * scaling
    if softcap:
        z = torch.tanh(z / softcap) * softcap
    n = z.shape[-1]
    z = z.masked_fill(~seen(layout, n), float("-inf"))
    start, end = layout.prefix, sum(layout.contexts) + layout.prefix
    contexts = z[:, :, end:, start:end] / layout.temperature
    # Equation 5: the weight exp(z/T) times the sum of these to the power S*T - 1.
    power = layout.scale * layout.temperature - 1
    z[:, :, end:, start:end] = contexts + power * contexts.exp().sum(-1, keepdim=True).log()
    return (z.softmax(-1) @ v).to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)  # type: ignore[arg-type]
AttentionMaskInterface.register(NAME, lambda *given, **named: None)  # type: ignore[arg-type]


def logits(model: PreTrainedModel, ids: Sequence[int], layout: Layout) -> torch.Tensor:
    """[length, vocabulary] of a model whose attention nobody else has replaced."""
    stock = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    _now.append(layout)
    try:
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor([list(ids)]),
                position_ids=torch.tensor([positions(layout, len(ids))]),
            )
    finally:
        _now.pop()
        model.set_attn_implementation(stock)
    found: torch.Tensor = out.logits[0]
    return found


def logprobs(model: PreTrainedModel, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
    """Of ids[start:], each given all before it."""
    table = logits(model, ids, layout).double().log_softmax(-1)
    return [table[at - 1, ids[at]].item() for at in range(start, len(ids))]


def greedy(model: PreTrainedModel, ids: Sequence[int], layout: Layout, tokens: int) -> list[int]:
    """A continuation, by one whole forward pass for each token."""
    found = list(ids)
    for _ in range(tokens):
        found.append(int(logits(model, found, layout)[-1].argmax()))
    return found[len(ids) :]
