"""Small random models of transformers, and requests of random trees, for tests of training."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from rl.masks import register
from rl.requests import Request

VOCABULARY = 40


def model(kind: str, seed: int = 0, **more: Any) -> Any:
    """A "llama" or "qwen3" in fp32 with grouped queries, wild enough that masks matter."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    register()
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        **more,
    }
    torch.manual_seed(seed)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**settings))
    return Qwen3ForCausalLM(Qwen3Config(**settings))


def one_by_one(network: Any, requests: list[Request]) -> Tensor:
    """The log-probability of every sampled token, from one plain forward for each request."""
    network.set_attn_implementation("sdpa")
    found = []
    for request in requests:
        if not len(request.sampled):
            continue
        ids = torch.tensor([[*request.context, *request.sampled]])
        logits = network(input_ids=ids, use_cache=False).logits[0, len(request.context) - 1 : -1]
        picked = torch.tensor(request.sampled)[:, None]
        found.append(logits.float().log_softmax(-1).gather(-1, picked)[:, 0])
    return torch.cat(found)


tokens = st.integers(2, 5)  # few, so that prefixes meet by chance, too


@st.composite
def forests(draw: st.DrawFn, most: int = 8) -> list[Request]:
    """Requests that begin anew, go on behind others, or part from them in the middle."""
    requests: list[Request] = []
    for _ in range(draw(st.integers(1, most))):
        context = draw(st.lists(tokens, min_size=1, max_size=6))
        if requests and draw(st.booleans()):
            other = draw(st.sampled_from(requests))
            path = [*other.context, *other.sampled]
            kept = path[: draw(st.integers(1, len(path)))]
            context = kept + draw(st.lists(tokens, max_size=3))
        sampled = draw(st.lists(tokens, max_size=6))
        requests.append(Request(context, sampled, [-1.0] * len(sampled)))
    if draw(st.booleans()):
        requests.append(draw(st.sampled_from(requests)))
    return requests
