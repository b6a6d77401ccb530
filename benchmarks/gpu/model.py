"""Models of random weights in the shapes of released ones, with tokenizers made on the spot.

    python -m benchmarks.gpu.model NAME FOLDER

They never end a text: there is no end-of-sequence token. The tokenizer reads single bytes, so that
a prompt of n letters has n tokens, and can spell every id of the vocabulary.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SHARD = 2 << 30
"""Bytes of a file of weights, at least."""
SPREAD = 0.02
"""Standard deviation of the weights."""


@dataclass(frozen=True)
class Shape:
    """A model of Qwen3's architecture."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    context: int = 40960


MODELS = {
    "tiny": Shape(64, 128, 2, 4, 4, 16, 4096, True),
    "0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151936, True),
    "8b": Shape(4096, 12288, 36, 32, 8, 128, 151936, False),
}


def make(name: str, folder: Path, weights: bool = True) -> Path:
    """The folder of a model of that name, made unless it is there."""
    shape, place = MODELS[name], folder / name
    done = place / ("model.safetensors.index.json" if weights else "tokenizer_config.json")
    if not done.exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(_config(shape), indent=2))
        _tokenizer(shape.vocabulary).save_pretrained(place)
        if weights:
            _weights(shape, place)
    return place


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = (
        "Ġ" + "".join(some)
        for length in range(1, 5)
        for some in product(ascii_lowercase, repeat=length)
    )
    known = [*letters, *islice(words, vocabulary - len(letters))]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(known)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and size of every tensor; those of one dimension are norms."""
    hidden, head = shape.hidden, shape.head
    queries, keys = shape.heads * head, shape.kv_heads * head
    yield "model.embed_tokens.weight", (shape.vocabulary, hidden)
    for i in range(shape.layers):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_norm.weight", (head,)
        yield f"{layer}.self_attn.k_norm.weight", (head,)
        yield f"{layer}.self_attn.q_proj.weight", (queries, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (keys, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (keys, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{layer}.mlp.gate_proj.weight", (shape.intermediate, hidden)
        yield f"{layer}.mlp.up_proj.weight", (shape.intermediate, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, shape.intermediate)
    yield "model.norm.weight", (hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, hidden)


def _weights(shape: Shape, place: Path) -> None:
    """Shards in bf16, and the index that lists what is where."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    held, total = 0, 0
    where: dict[str, str] = {}

    def write() -> None:
        name = f"model-{len(set(where.values())) + 1:05}.safetensors"
        save_file(shard, place / name, {"format": "pt"})
        where.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, size in _shapes(shape):
        if len(size) == 1:
            made = torch.ones(size, dtype=torch.bfloat16)
        else:
            made = torch.empty(size, dtype=torch.bfloat16, device=device)
            made = made.normal_(0, SPREAD, generator=generator).cpu()
        shard[name] = made
        held += made.nbytes
        total += made.nbytes
        if held >= SHARD:
            write()
            held = 0
    if shard:
        write()
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=list(MODELS))
    parser.add_argument("folder", type=Path, help="the model is made in FOLDER/NAME")
    parser.add_argument("--no-weights", action="store_true", help="for servers that make their own")
    options = parser.parse_args()
    print(make(options.name, options.folder, not options.no_weights))
