"""What goes over the wire to and from `/v1/chat/completions`."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from reason.backends.http import Refused
from reason.backends.openai_wire import Counts, Error, failure_of
from reason.errors import Unsupported
from reason.types import Grammar, Message, SamplingParams

DROPPED = {"stream_options": None, "seed": None, "temperature": 1.0, "top_p": 1.0}
"""Fields that some servers refuse, and can do without: at this value, or at any."""


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """vLLM's later name for it."""


class Choice(msgspec.Struct):
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None


class ChatEvent(msgspec.Struct):
    choices: list[Choice] = []
    usage: Counts | None = None
    error: Error | str | None = None

    @property
    def failure(self) -> str | None:
        """What the server says went wrong."""
        return failure_of(self.error, (choice.finish_reason for choice in self.choices))


decode_event = msgspec.json.Decoder(ChatEvent).decode


class Said:
    """The text of an answer, piece by piece; thoughts told apart from it stand in think tags."""

    def __init__(self) -> None:
        self._thinks = False

    def push(self, delta: Delta) -> str:
        """What a piece adds."""
        thought, said = delta.reasoning_content or delta.reasoning or "", delta.content or ""
        if thought and not self._thinks:
            thought = "<think>\n" + thought
        self._thinks = self._thinks or bool(thought)
        if said and self._thinks:
            said, self._thinks = "\n</think>\n\n" + said, False
        return thought + said


class Fields:
    """The fields of a request, in the words that a server takes: it is learnt from refusals."""

    def __init__(self) -> None:
        self._limit = "max_tokens"
        self._refused: set[str] = set()

    def body(
        self, model: str, messages: Sequence[Message], params: SamplingParams, stream: bool
    ) -> dict[str, Any]:
        """A whole request. Raises Unsupported for a grammar that is no JSON schema."""
        fields: dict[str, Any] = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or None,
            "min_p": params.min_p or None,
            "seed": None if params.seed is None else params.seed & (2**31 - 1),
            "response_format": _format(params.grammar) if params.grammar else None,
            "stream_options": {"include_usage": True} if stream else None,
        }
        return {
            "model": model,
            "messages": list(messages),
            "stream": stream,
            self._limit: params.max_tokens,
            **{
                name: value
                for name, value in fields.items()
                if value is not None and not (name in self._refused and _spared(name, value))
            },
        }

    def learn(self, body: dict[str, Any], error: Refused) -> None:
        """From the refusal of a request. Raises it if the request cannot be put otherwise."""
        said = str(error)
        if error.status in (400, 422):
            if "max_completion_tokens" in said and "max_tokens" in body:
                self._limit = "max_completion_tokens"
                return
            for name in DROPPED:
                if name in said and name in body and _spared(name, body[name]):
                    self._refused.add(name)
                    return
        raise error


def _spared(name: str, value: object) -> bool:
    return name in DROPPED and DROPPED[name] in (None, value)


def _format(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind != "json":
        raise Unsupported(
            f"a chat API takes no grammar of the kind {grammar.kind}, only json; "
            "SGLang and vLLM do where they are given token ids"
        )
    schema = {"name": "answer", "schema": json.loads(grammar.text), "strict": True}
    return {"type": "json_schema", "json_schema": schema}
