"""The Llama that is trained: new, from a checkpoint, and written for others to load."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from reason.backends.hf_load import load_pair
from reason.errors import UsageError
from rl.recipe import Shape
from rl.vocabulary import ID, SIZE, save_tokenizer


def _settings(shape: Shape, language: str) -> dict[str, Any]:
    heads = shape.hidden // shape.head
    return {
        "vocab_size": SIZE,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "pad_token_id": ID["<pad>"],
        "bos_token_id": ID["<bos>"],
        "eos_token_id": ID["<eos>"],
        "reason_grammar": language,
    }


def new_model(shape: Shape, seed: int, language: str = "countdown") -> LlamaForCausalLM:
    """A Llama with random weights; the same for the same seed."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**_settings(shape, language)))
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            gain = 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.7
            std = 0.02 if "embed" in name else gain / math.sqrt(weight.shape[1])
            torch.nn.init.normal_(weight, std=std)
    return model


def load_model(folder: str, shape: Shape, language: str = "countdown") -> LlamaForCausalLM:
    """A Llama of that shape from a checkpoint, in fp32.

    Raises UsageError for a folder that is not there or holds another model, BackendError for a
    damaged one.
    """
    if not Path(folder).expanduser().is_dir():
        raise UsageError(f"start is {folder!r}, but there is no such folder")
    model, _ = load_pair(str(Path(folder).absolute()), "float32", "cpu")
    expected = LlamaConfig(**_settings(shape, language))
    names = ("model_type", "rope_parameters", *_settings(shape, language))
    wrong = [
        f"{name} {getattr(model.config, name, None)} and not {getattr(expected, name)}"
        for name in names
        if getattr(model.config, name, None) != getattr(expected, name)
    ]
    if wrong:
        raise UsageError(f"start is {folder!r}, a model with {', '.join(wrong)}")
    return model


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model in bf16 with its tokenizer, as AutoModelForCausalLM and SGLang load it."""
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.save_pretrained(str(folder))
    save_tokenizer(folder, model.config.reason_grammar)
