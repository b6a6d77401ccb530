"""The tokenizer of the Countdown models: one token per keyword and per integer up to LIMIT."""

from pathlib import Path

from eval.countdown import LIMIT
from eval.lookup import SHOWN

SPECIAL = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<par>",
    "<seq>",
    "<sub>",
    "<go>",
    "<spawn>",
    "<join>",
    "<res>",
    "<ans>",
    "<ret>",
]
WORDS = ["fail", "hit", "no", "|", ";", ",", "=", "+", "-", "*", "/", "."]
SIZE = 256
WEAVE = [
    "<weave>",
    "<Parallel>",
    "</Parallel>",
    "<Outlines>",
    "</Outlines>",
    "<Outline>",
    "</Outline>",
    "<Thread>",
    "</Thread>",
    ":",
]
ATTEMPTS = ["<try>", "<att>", "tried", "check", "wait"]
NAMED = [*SPECIAL, *WORDS, *map(str, range(LIMIT + 1)), *WEAVE, *ATTEMPTS]
VOCABULARY = [*NAMED, *(f"<unused{i}>" for i in range(SIZE - len(NAMED)))]
"""The token with id i is VOCABULARY[i]; the unused ones are room for other formats."""
ID = {word: i for i, word in enumerate(VOCABULARY)}
LANGUAGES = {
    "countdown": ID,
    "lookup": {
        word: i
        for i, word in enumerate([*SHOWN, *(f"<unused{i}>" for i in range(SIZE - len(SHOWN)))])
    },
}
"""The ids of the words of each language."""


def save_tokenizer(folder: Path, language: str) -> None:
    """Write `tokenizer.json` and its config, as transformers and SGLang read them."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(WordLevel(LANGUAGES[language], unk_token="<pad>"))
    model.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<pad>",
        unk_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(str(folder))
