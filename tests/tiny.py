"""Models of a few thousand random weights, and tokenizers for them, made on the spot."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
)

WORDS = 60
EOS = "<eos>"
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "

_CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def model(
    kind: str, *, vocabulary: int = WORDS + 2, seed: int = 0, kv_heads: int = 2, **options: object
) -> PreTrainedModel:
    """A fresh model with two layers and four heads, its weights large enough to have opinions."""
    config_class, model_class = _CLASSES[kind]
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        **options,
    }
    torch.manual_seed(seed)
    made: PreTrainedModel = model_class(config_class(**settings)).eval()
    return made


@cache
def words(eos: bool = False) -> PreTrainedTokenizerBase:
    """One token per word, "w0" to "w59", joined by spaces; others are unknown. With `eos`, it says
    which token ends a sequence."""
    vocabulary = {f"w{i}": i for i in range(WORDS)} | {"<unk>": WORDS, EOS: WORDS + 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token=EOS if eos else None
    )


@cache
def letters(ascii: bool = False) -> PreTrainedTokenizerBase:
    """Byte-level pairs: every text has tokens, and most characters beyond ASCII take several. With
    `ascii`, these have none, so that every token is a text of its own."""
    plain = [*map(chr, range(33, 127)), "\u0120", "\u010a"]  # the last are space and line break
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=plain if ascii else pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[EOS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)


def general(folder: Path) -> None:
    """A folder with a chat model that says anything."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters().backend_tokenizer, eos_token=EOS, chat_template=CHAT
    )
    tokenizer.save_pretrained(folder)
    model("qwen3", vocabulary=len(tokenizer), max_position_embeddings=8192).save_pretrained(folder)


def weaver(folder: Path) -> None:
    """A folder with a chat model to which the tags of ThreadWeaver, and pieces of them, come as
    easily as any letter."""
    plain = [*map(chr, range(33, 127)), "\u0120", "\u010a"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=plain, special_tokens=[EOS], show_progress=False
    )
    names = ("Parallel", "Outlines", "Outline", "Thread")
    tags = [f"{begin}{name}>" for name in names for begin in ("<", "</", "<<")]
    tokenizer.train_from_iterator(tags * 3, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, chat_template=CHAT)
    made.save_pretrained(folder)
    model("qwen3", vocabulary=len(made), max_position_embeddings=8192).save_pretrained(folder)


def judge(folder: Path) -> PreTrainedModel:
    """A reward model with random opinions on a chat, and its folder."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters(ascii=True).backend_tokenizer, eos_token=EOS, chat_template=CHAT
    )
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.3,
        num_labels=1,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    made = Qwen2ForSequenceClassification(config).eval()
    made.save_pretrained(folder)
    return made
