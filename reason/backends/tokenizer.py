"""Between text and token ids: chat templates are applied here and nowhere else."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from reason.backends.hub import local, missing, unreachable
from reason.errors import Unsupported, UsageError
from reason.types import Contexts, Layout, Message, Prompt

_HERE = "\ue0a7"
"""Stands for contexts where a template is filled in; a character of private use."""


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """From a directory or the hub. Raises UsageError for what cannot be loaded."""
    folder = local(name)
    silent = None if folder else unreachable()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder or name, local_files_only=silent is not None
        )
    except (OSError, ValueError, KeyError, ImportError, json.JSONDecodeError) as error:
        if silent:
            raise UsageError(missing(name, silent)) from None
        raise UsageError(f"cannot load a tokenizer from {name}: {first_line(error)}") from None
    if not len(tokenizer):
        raise UsageError(f"the tokenizer of {name} is empty: its files are missing")
    return tokenizer


def load_config(name: str) -> dict[str, Any]:
    """Of the model that lies beside a tokenizer, if it can be read."""
    try:
        found, _ = PretrainedConfig.get_config_dict(name)
    except OSError:
        return {}
    return dict(found)


class Tokenizer:
    """A tokenizer of transformers, for a model of that name."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
        self._tokenizer, self._model = tokenizer, model
        # Straight to the library beneath: a tenth of the time, once per token of every request.
        self._fast = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        if self._fast is not None:  # what a checkpoint may have saved of its training
            self._fast.no_truncation()
            self._fast.no_padding()

    @property
    def name(self) -> str:
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    @property
    def eos(self) -> int | None:
        found: int | None = self._tokenizer.eos_token_id
        return found

    @cached_property
    def tokens(self) -> str:
        """The same for tokenizers whose ids stand for the same tokens."""
        vocabulary = sorted(self._tokenizer.get_vocab().items())
        return hashlib.blake2b(json.dumps(vocabulary).encode(), digest_size=8).hexdigest()

    def ends(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Ids that end a sequence: those of the model's configuration, and the tokenizer's own."""
        listed = config.get("eos_token_id")
        found = {*(listed if isinstance(listed, list) else [listed]), self.eos}
        return tuple(sorted(i for i in found if i is not None))

    def __len__(self) -> int:
        return len(self._tokenizer)

    def ids(self, text: str) -> list[int]:
        """What the tokenizer makes of the text, unknown words and all."""
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return found

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Text becomes exactly what the tokenizer makes of it, with no special token added. A chat
        goes through the tokenizer's template and ends where the assistant's next turn begins, or,
        if the assistant spoke last, inside that turn. Raises Unsupported for a chat without a
        template, UsageError for words that the tokenizer does not know. Contexts have tokens of
        their own, whether they are read side by side or not.
        """
        if isinstance(prompt, Contexts):
            return self.encode_contexts(prompt)[0]
        text = prompt if isinstance(prompt, str) else self._chat(prompt)
        unknown = self._tokenizer.unk_token_id
        if self._fast is None:
            ids: list[int] = self.ids(text)
            if unknown is not None and unknown in ids:
                self._refuse(text, ids, [])
            return ids
        found = self._fast.encode(text, add_special_tokens=False)
        ids = found.ids
        if unknown is not None and unknown in ids:
            self._refuse(text, ids, found.offsets)
        return ids

    def encode_contexts(self, prompt: Contexts) -> tuple[list[int], Layout]:
        """Token ids of a prompt whose contexts are read side by side, and where these stand.

        Prefix, contexts and query are tokenised each on its own, without special tokens but those
        of the template. Raises UsageError for what has no tokens, and like `encode`.
        """
        before, after = self._around(prompt)
        parts = [self.encode(text) for text in prompt.contexts]
        empty = [str(n) for n, part in enumerate(parts, 1) if not part]
        if empty:
            raise UsageError(f"context {', '.join(empty)} of {len(parts)} is empty; leave it out")
        rest = self.encode(after)
        if not rest:
            raise UsageError("the query behind the contexts is empty; expected a question")
        head = self.encode(before)
        layout = Layout(len(head), tuple(map(len, parts)), prompt.temperature, prompt.scale)
        return [*head, *(id for part in parts for id in part), *rest], layout

    def _around(self, prompt: Contexts) -> tuple[str, str]:
        """The template's text before and after contexts that begin the last question."""
        said = replace(prompt, contexts=(_HERE,)).spoken
        text = said if isinstance(said, str) else self._chat(said)
        before, found, after = text.partition(_HERE)
        if not found or _HERE in after:  # a template may also repeat what is asked
            raise Unsupported(
                f"the chat template of {self._model} does not keep what is asked in one place; "
                "give the prompt as text"
            )
        return before, after

    def conversation(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a chat that is over; without a template, of what was said in it."""
        if self._tokenizer.chat_template:
            turns = [dict(message) for message in messages]
            return self.ids(str(self._tokenizer.apply_chat_template(turns, tokenize=False)))
        return self.ids("\n".join(message["content"] for message in messages))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some ids, special tokens included."""
        if self._fast is not None:
            return str(self._fast.decode(list(ids), skip_special_tokens=False))
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _chat(self, messages: Sequence[Message]) -> str:
        if not self._tokenizer.chat_template:
            raise Unsupported(
                f"the tokenizer of {self._model} has no chat template; give the prompt as text"
            )
        turns = [dict(message) for message in messages]
        continued = bool(turns) and turns[-1]["role"] == "assistant"
        text = self._tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
        return str(text)

    def _refuse(self, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> None:
        """Raise UsageError if some of the text has no token of its own."""
        unknown = self._tokenizer.unk_token_id
        words = [text[a:b] for id, (a, b) in zip(ids, offsets, strict=False) if id == unknown]
        words = [word for word in dict.fromkeys(words) if word != self._tokenizer.unk_token]
        if words:
            some = ", ".join(repr(word) for word in words[:5])
            raise UsageError(
                f"the tokenizer of {self._model} does not know {some}"
                + (f" and {len(words) - 5} more" if len(words) > 5 else "")
                + "; it can only read text made of its own words"
            )


def first_line(error: Exception) -> str:
    """The first line of a message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
