"""The objects that a client gets: of a chat, and of a plain completion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reason.serve.outbox import Delta
from reason.serve.tally import Token


class Reply(Protocol):
    """How one of the two kinds writes what it has to say."""

    name: str
    """Of the whole object."""
    part: str
    """Of a chunk of it."""
    begin: str
    """Of its ids."""

    def opening(self) -> dict[str, Any]:
        """What a choice begins with, nothing yet being said."""
        ...

    def piece(self, delta: Delta, shown: str, logprobs: bool) -> dict[str, Any]:
        """A choice with more text of a thread, `shown` being its header."""
        ...

    def closing(self) -> dict[str, Any]:
        """A choice that ends."""
        ...

    def whole(self, content: str, reasoning: str, logprobs: list[Token] | None) -> dict[str, Any]:
        """A choice as one."""
        ...


class ChatReply:
    """Of /v1/chat/completions."""

    name, part, begin = "chat.completion", "chat.completion.chunk", "chatcmpl-"

    def opening(self) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, delta: Delta, shown: str, logprobs: bool) -> dict[str, Any]:
        if delta.kind != "content":
            return {"delta": {"reasoning_content": shown + delta.text}}
        choice: dict[str, Any] = {"delta": {"content": delta.text}}
        if logprobs:
            choice["logprobs"] = _of_chat(delta.tokens)
        return choice

    def closing(self) -> dict[str, Any]:
        return {"delta": {}}

    def whole(self, content: str, reasoning: str, logprobs: list[Token] | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": content, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        return {"message": message, "logprobs": None if logprobs is None else _of_chat(logprobs)}


@dataclass
class TextReply:
    """Of /v1/completions. What is no part of the text stands beside it."""

    name, part, begin = "text_completion", "text_completion", "cmpl-"
    written: int = 0
    """Characters so far, for where a token begins."""

    def opening(self) -> dict[str, Any]:
        return {"text": ""}

    def piece(self, delta: Delta, shown: str, logprobs: bool) -> dict[str, Any]:
        if delta.kind != "content":
            return {"text": "", "reasoning_content": shown + delta.text}
        choice: dict[str, Any] = {"text": delta.text}
        if logprobs:
            choice["logprobs"] = self._of_text(delta.tokens)
        return choice

    def closing(self) -> dict[str, Any]:
        return {"text": ""}

    def whole(self, content: str, reasoning: str, logprobs: list[Token] | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"text": content}
        if reasoning:
            choice["reasoning_content"] = reasoning
        choice["logprobs"] = None if logprobs is None else self._of_text(logprobs)
        return choice

    def _of_text(self, tokens: Sequence[Token]) -> dict[str, Any]:
        offsets = []
        for token in tokens:
            offsets.append(self.written)
            self.written += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": None,
            "text_offset": offsets,
        }


def _of_chat(tokens: Sequence[Token]) -> dict[str, Any]:
    """A part of a character has no text, so that its bytes are not known."""
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "bytes": None if "\ufffd" in token.text else list(token.text.encode()),
                "top_logprobs": [],
            }
            for token in tokens
        ],
        "refusal": None,
    }
