"""What goes over the wire to and from SGLang's `/generate`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from reason.errors import BackendError
from reason.types import Finish, SamplingParams

GRAMMARS = {"regex": "regex", "json": "json_schema", "ebnf": "ebnf"}


class Reason(msgspec.Struct):
    """Why an answer ended: "stop", "length" or "abort"."""

    type: str
    matched: str | int | list[int] | None = None
    message: str | None = None
    status_code: int | None = None


class Error(msgspec.Struct):
    message: str = ""
    code: int | str | None = None

    @property
    def status_code(self) -> int | str | None:
        return self.code


Logprobs = list[tuple[float | None, int, str | None]]
"""Log-probability, token id and its text, which is not asked for."""


class Meta(msgspec.Struct):
    finish_reason: Reason | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    weight_version: str | None = None
    output_token_logprobs: Logprobs | None = None
    input_token_logprobs: Logprobs | None = None


class Event(msgspec.Struct):
    """Ids and logprobs of the whole answer so far, or, with `--incremental-streaming-output`, of
    what is new."""

    output_ids: list[int] = []
    meta_info: Meta = msgspec.field(default_factory=Meta)
    error: Error | None = None

    @property
    def failure(self) -> Reason | Error | None:
        reason = self.meta_info.finish_reason
        return self.error or (reason if reason and reason.type == "abort" else None)

    @property
    def version(self) -> int | None:
        said = self.meta_info.weight_version
        return int(said) if said and said.isdigit() else None


def values(found: Logprobs | None, start: int, count: int, url: str) -> tuple[float, ...]:
    """The log-probabilities from `start`, which must be `count`. Raises BackendError."""
    said = [value for value, _, _ in (found or [])[start:]]
    if len(said) != count:
        raise BackendError(f"{url} returned {len(said)} log-probabilities for {count} tokens")
    if None in said:
        raise BackendError(
            f"{url} sampled a token of probability 0; does a grammar leave this model none that it "
            "can spell?"
        )
    return tuple(said)  # type: ignore[arg-type]


_decode = msgspec.json.Decoder(Event).decode


def read(data: Sequence[bytes], incremental: bool) -> list[Event]:
    """What came at once, as one event, so that a client that falls behind catches up; a failure
    stands alone, after it. Raises msgspec.MsgspecError for what is no event.
    """
    *before, last = map(_decode, data if incremental else data[-1:])
    if before and last.failure:
        return [_together(before), last]
    return [_together([*before, last])]


def _together(events: Sequence[Event]) -> Event:
    last = events[-1]
    if len(events) > 1:
        last.output_ids = [id for event in events for id in event.output_ids]
        logprobs = [event.meta_info.output_token_logprobs or [] for event in events]
        last.meta_info.output_token_logprobs = [each for some in logprobs for each in some]
    return last


def finish_of(reason: Reason | None, params: SamplingParams) -> tuple[Finish | None, str | None]:
    """Our words for how an answer ended, if it did, and the stop string that the server saw."""
    if reason is None:
        return None, None
    if reason.type == "length":
        return "length", None
    if isinstance(reason.matched, str):
        return "stop", reason.matched
    return ("stop" if reason.matched in params.stop_token_ids else "eos"), None


def sampling(params: SamplingParams, room: int) -> dict[str, Any]:
    """The `sampling_params` of a request for at most `room` tokens, but for the seed."""
    fields: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k or -1,
        "min_p": params.min_p,
        "max_new_tokens": room,
        "stop": list(params.stop),
        "stop_token_ids": list(params.stop_token_ids),
        "no_stop_trim": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }
    if params.grammar is not None:
        fields[GRAMMARS[params.grammar.kind]] = params.grammar.text
    return fields
