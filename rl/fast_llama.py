"""A training forward of transformers' Llama that one compiled graph serves at every row length.

The layers' own modules and weights are used; only the order of work differs: everything but
attention runs on flat [tokens, hidden] rows of one fixed size, so that torch.compile compiles it
once instead of once per row length. Padding is at the end of a row, where causal attention never
looks.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from reason.errors import UsageError
from rl.batches import IGNORE

FUSED_FROM = 640
"""Row length above which fused attention wins; measured with 1,920 tokens and two heads of 64."""


class FastLlama:
    """`loss(inputs, labels)` of a LlamaForCausalLM with as many key heads as query heads."""

    def __init__(self, model: LlamaForCausalLM, dtype: torch.dtype, compiled: bool = True) -> None:
        """Raises UsageError where nothing can be compiled."""
        compiler = os.environ.get("CXX", "g++")  # as torch.compile looks for it
        if compiled and shutil.which(compiler) is None:
            raise UsageError(
                f"compile is true, but there is no C++ compiler {compiler}: install it, name "
                "another one in CXX, or give compile=false"
            )
        self.model, self.dtype = model, dtype
        config = model.config
        self.head = config.hidden_size // config.num_attention_heads
        positions = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(torch.zeros(1), positions)
        self.cos, self.sin = cos[0].to(dtype), sin[0].to(dtype)
        wrap: Callable[[Any], Any] = torch.compile if compiled else lambda f: f
        self.before = [wrap(_before(layer, self.head)) for layer in model.model.layers]
        self.after = [wrap(_after(layer)) for layer in model.model.layers]
        self.ending = wrap(_ending(model))

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the labels that are not -100; both tensors [rows, length]."""
        rows, length = inputs.shape
        x = self.model.model.embed_tokens(inputs).reshape(rows * length, -1).to(self.dtype)
        cos = self.cos[:length].repeat(rows, 1).unsqueeze(1)
        sin = self.sin[:length].repeat(rows, 1).unsqueeze(1)
        for before, after in zip(self.before, self.after, strict=True):
            q, k, v = (
                t.view(rows, length, -1, self.head).transpose(1, 2) for t in before(x, cos, sin)
            )
            mixed = _attention(q, k, v)
            x = after(x, mixed.transpose(1, 2).reshape(rows * length, -1))
        loss: Tensor = self.ending(x, labels.reshape(-1))
        return loss


def _norm(module: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention. The CPU's fused backward is slower than this on short rows in bf16."""
    length = q.shape[-2]
    if length > FUSED_FROM:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    above = torch.full((length, length), -1e4, dtype=q.dtype).triu(1)
    mixed: Tensor = (scores + above).softmax(-1) @ v
    return mixed


def _before(layer: Any, head: int) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    attention = layer.self_attn

    def run(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        h = _norm(layer.input_layernorm, x)
        weight = torch.cat(
            [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        )
        q, k, v = F.linear(h, weight).view(len(x), 3, -1, head).unbind(1)

        def turned(t: Tensor) -> Tensor:
            a, b = t.chunk(2, -1)
            return t * cos + torch.cat((-b, a), -1) * sin

        return turned(q), turned(k), v

    return run


def _after(layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
    mlp = layer.mlp

    def run(x: Tensor, mixed: Tensor) -> Tensor:
        x = x + layer.self_attn.o_proj(mixed)
        h = _norm(layer.post_attention_layernorm, x)
        weight = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        gate, up = F.linear(h, weight).chunk(2, -1)
        out: Tensor = x + mlp.down_proj(F.silu(gate) * up)
        return out

    return run


def _ending(model: LlamaForCausalLM) -> Callable[[Tensor, Tensor], Tensor]:
    def run(x: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(_norm(model.model.norm, x), model.lm_head.weight).float()
        return F.cross_entropy(logits, labels, ignore_index=IGNORE)

    return run
