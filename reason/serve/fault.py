"""What went wrong, in the shape in which OpenAI's API says it."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from reason.backends.http import Refused
from reason.errors import BackendError, ReasonError, Unsupported

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "service_unavailable_error",
}


SHOWN = 100
"""Characters of a value that a message shows."""
MESSAGE = 1000
"""Characters of a message."""
_VALUE = re.compile(
    r"""(?<![\w.])[\[{].*[\]}]|(?<!\w)(['"`])(?:\\.|(?!\1)[^\\])*\1(?!\w)|\S{100,}""",
    re.DOTALL,
)
"""What may have come from a client: something in brackets or quotes, and a very long word."""
_GRAMMAR = re.compile(r"Failed to compile \w+ grammar: (?:\[[\d:]+\] \S+: )?(.*)", re.DOTALL)
"""In the words of SGLang: why, behind a time and a place in its source."""


class Fault(Exception):
    """Why a request is not answered, or not to its end. Of long values the message shows a part."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = _VALUE.sub(lambda value: _part(value[0], SHOWN), _part(message, MESSAGE))
        super().__init__(message)
        self.status, self.code = status, code
        self.param = None if param is None else _part(param, SHOWN)
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """For a response, or for the middle of a stream."""
        kind = KINDS.get(self.status, KINDS[400] if self.status < 500 else KINDS[500])
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def _part(text: str, most: int) -> str:
    """Its beginning and its end, if it has more characters."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def fault_of(error: ReasonError) -> Fault:
    """The same error for a client: its own mistake, or that of the model's server."""
    message = " ".join(str(error).split())
    if not isinstance(error, BackendError) or isinstance(error, Unsupported):
        return Fault(400, message)
    if isinstance(error, Refused) and error.status in (400, 413, 422):
        return Fault(400, message)
    if isinstance(error, Refused):
        return Fault(502, message, code="backend_error")
    return broken(message)


def broken(reason: str) -> Fault:
    """A model that failed, for a grammar of the request or for a reason of its own."""
    grammar = _GRAMMAR.search(reason)
    if grammar is None:
        return unavailable(reason)
    return Fault(400, f"the grammar cannot be used: {grammar[1]}; mend response_format, or "
                 "reason.sampling.grammar")  # fmt: skip


def unavailable(reason: str) -> Fault:
    """The model's server cannot be reached, or broke off."""
    return Fault(503, reason, code="backend_unavailable", headers={"Retry-After": "1"})


def invalid(error: msgspec.DecodeError | RecursionError | UnicodeError) -> Fault:
    """A body that is not what was expected; the message says where."""
    said = str(error) if isinstance(error, msgspec.DecodeError) else "the JSON is nested too deeply"
    place = re.search(r" - at `\$\.?(.*)`$", said)
    field = re.search(r"(?:unknown|required) field `([^`]*)`", said)
    where = [place[1] if place else "", field[1] if field else ""]
    message = said if isinstance(error, msgspec.ValidationError) else f"invalid JSON: {said}"
    if "unknown field" in said:
        message += "; nothing is ignored in silence: leave it out"
    return Fault(400, message, param=".".join(filter(None, where)) or None)
