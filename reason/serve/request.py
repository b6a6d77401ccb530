"""What a client may send. Fields that are not listed here are refused by name."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Share = Annotated[float, Meta(gt=0, le=1)]
Warmth = Annotated[float, Meta(ge=0, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stop = str | Annotated[list[str], Meta(max_length=4)]


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Nothing is ignored in silence."""


class TextPart(_Strict, tag_field="type", tag="text"):
    text: str


class Said(_Strict):
    """A message of a chat. What an assistant's answer carries beside its content may be sent back
    and is left out: a model does not read again what it thought."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    reason: dict[str, Any] | None = None
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    audio: None = None
    tool_calls: Annotated[list[Any], Meta(max_length=0)] | None = None
    tool_call_id: str | None = None
    function_call: None = None


class StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Schema(_Strict, kw_only=True):
    name: str = ""
    description: str | None = None
    schema: dict[str, Any]
    strict: bool | None = None


class AsText(_Strict, tag_field="type", tag="text"):
    pass


class AsObject(_Strict, tag_field="type", tag="json_object"):
    pass


class AsSchema(_Strict, tag_field="type", tag="json_schema"):
    json_schema: Schema


class _Common(_Strict, kw_only=True):
    """What both endpoints take."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Warmth | None = None
    top_p: Share | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    reason: dict[str, Any] | None = None
    """Our own: see docs/serve.md."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None


class ChatRequest(_Common, kw_only=True):
    """Body of /v1/chat/completions."""

    messages: Annotated[list[Said], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    response_format: AsText | AsObject | AsSchema | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prediction: Any = None
    audio: Any = None
    web_search_options: Any = None


class CompletionRequest(_Common, kw_only=True):
    """Body of /v1/completions."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None


class Cancel(_Strict, tag_field="do", tag="cancel"):
    """Stop a thread and all below it."""

    thread: str


class Stopped(_Strict, tag_field="do", tag="stop"):
    """Stop the run."""


class Extend(_Strict, tag_field="do", tag="extend"):
    """Other limits, in the place of the old ones."""

    budget: dict[str, float]


class Branch(_Strict, tag_field="do", tag="branch"):
    """Go on from a point of a thread, with a hint."""

    thread: str
    hint: str = ""
    kept: Annotated[int, Meta(ge=0, le=2**31)] | UnsetType | None = UNSET


class Pin(_Strict, tag_field="do", tag="pin"):
    """Let this be the answer; what the thread has found, if none is given."""

    thread: str
    answer: str | None = None


Steer = Cancel | Stopped | Extend | Branch | Pin

decode_chat = msgspec.json.Decoder(ChatRequest).decode
decode_completion = msgspec.json.Decoder(CompletionRequest).decode
decode_steer = msgspec.json.Decoder(Steer).decode
