"""What goes over the wire to and from `/v1/completions`, in the dialects of its servers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reason.errors import BackendError, Unsupported
from reason.types import Grammar, SamplingParams

PREFIX = "token_id:"
"""Before the id, where a server writes ids in the place of a token's text."""


@dataclass(frozen=True)
class Dialect:
    """What a kind of server wants to be told beyond what OpenAI's own API knows."""

    name: str
    fields: Mapping[str, Any]
    """Sent with every request, so that the ids and logprobs of all tokens come back."""
    grammars: Mapping[str, str] = field(default_factory=dict)
    """The field for each kind of grammar."""
    inside: str = ""
    """The field in which those stand, if they do not stand alone."""
    spare: int = 0
    """Tokens of the context that it keeps for itself."""


VLLM = Dialect(
    "vLLM",
    {
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "logprobs": 0,
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "repetition_penalty": 1.0,
    },
    {"regex": "regex", "json": "json", "ebnf": "grammar"},
    inside="structured_outputs",
)
SGLANG = Dialect(
    "SGLang",
    {
        "return_token_ids": True,
        "logprobs": 0,
        "no_stop_trim": True,
        "skip_special_tokens": False,
        "repetition_penalty": 1.0,
    },
    {"regex": "regex", "json": "json_schema", "ebnf": "ebnf"},
    spare=6,
)
LLAMA_CPP = Dialect(
    "llama.cpp",
    {"logprobs": 1, "timings_per_token": True, "repeat_penalty": 1.0},
    {"json": "json_schema", "ebnf": "grammar"},
)
PROBING = {**VLLM.fields, **SGLANG.fields, **LLAMA_CPP.fields}
"""All at once, for the first request; these servers pass over what they do not know."""


class Token(msgspec.Struct):
    """One entry of llama.cpp's list."""

    id: int
    logprob: float


class Logprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    content: list[Token] | None = None


class Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's name for the stop string that ended it."""
    matched_stop: str | int | list[int] | None = None
    """SGLang's."""

    @property
    def ids(self) -> list[int] | None:
        """Of the new tokens, in whichever way they are told; None if in none."""
        if self.token_ids is not None:
            return self.token_ids
        if self.logprobs is None:
            return None
        if self.logprobs.content is not None:
            return [token.id for token in self.logprobs.content]
        tokens = self.logprobs.tokens
        if not all(token.startswith(PREFIX) for token in tokens):
            return None
        return [int(token[len(PREFIX) :]) for token in tokens]

    @property
    def values(self) -> list[float | None]:
        """The logprobs of the new tokens."""
        if self.logprobs is None:
            return []
        if self.logprobs.content is not None:
            return [token.logprob for token in self.logprobs.content]
        return self.logprobs.token_logprobs


class Cached(msgspec.Struct):
    cached_tokens: int | None = None


class Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Cached | None = None

    @property
    def cached(self) -> int:
        details = self.prompt_tokens_details
        return (details and details.cached_tokens) or 0


class Timings(msgspec.Struct):
    predicted_n: int | None = None
    """Tokens that llama.cpp has sampled so far, whether it told their ids or not."""


class Error(msgspec.Struct):
    message: str = ""
    code: int | str | None = None


class Event(msgspec.Struct):
    choices: list[Choice] = []
    usage: Counts | None = None
    timings: Timings | None = None
    error: Error | str | None = None

    @property
    def failure(self) -> str | None:
        """What the server says went wrong."""
        return failure_of(self.error, (choice.finish_reason for choice in self.choices))


def failure_of(error: Error | str | None, endings: Iterable[str | None]) -> str | None:
    """What an event says went wrong, by its error and its finish reasons."""
    if error is not None:
        return error if isinstance(error, str) else error.message or "no reason"
    wrong = (ending for ending in endings if ending not in (None, "stop", "length"))
    return next((f"it ended with {ending!r}" for ending in wrong), None)


decode_event = msgspec.json.Decoder(Event).decode


def dialect_of(answer: Mapping[str, Any]) -> Dialect | None:
    """Whose an answer to PROBING is; None if it tells no token ids.

    One that tells them as vLLM does, and is not SGLang's, is spoken to as vLLM.
    """
    try:
        event = msgspec.convert(answer, Event)
    except msgspec.ValidationError:
        return None
    if event.timings and event.timings.predicted_n:
        return LLAMA_CPP
    if not event.choices or not event.choices[0].ids:
        return None
    return SGLANG if "matched_stop" in answer["choices"][0] else VLLM


def sampling(params: SamplingParams, room: int, dialect: Dialect) -> dict[str, Any]:
    """The fields of a request for at most `room` tokens. What a server would take from the model's
    generation config is said in full. Raises Unsupported for a grammar that it does not know."""
    fields: dict[str, Any] = {
        **dialect.fields,
        "max_tokens": room,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k or -1,
        "min_p": params.min_p,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if params.stop:
        fields["stop"] = list(params.stop)
    if params.stop_token_ids:
        fields["stop_token_ids"] = list(params.stop_token_ids)
    if params.seed is not None:
        fields["seed"] = params.seed & (2**31 - 1)
    if params.grammar is not None:
        constraint = _constraint(params.grammar, dialect)
        fields.update({dialect.inside: constraint} if dialect.inside else constraint)
    return fields


def _constraint(grammar: Grammar, dialect: Dialect) -> dict[str, Any]:
    if grammar.kind not in dialect.grammars:
        raise Unsupported(
            f"{dialect.name} takes no grammar of the kind {grammar.kind}, only "
            f"{', '.join(dialect.grammars)}; SGLang and vLLM do"
        )
    # A schema goes to SGLang as text, to the others as what it says.
    parsed = grammar.kind == "json" and dialect is not SGLANG
    return {dialect.grammars[grammar.kind]: json.loads(grammar.text) if parsed else grammar.text}


def finite(found: Sequence[float | None], count: int, url: str) -> tuple[float, ...]:
    """The logprobs, which must be `count`. Raises BackendError."""
    if len(found) != count or None in found:
        have = sum(value is not None for value in found)
        raise BackendError(f"{url} returned {have} log-probabilities for {count} tokens")
    return tuple(found)  # type: ignore[arg-type]
