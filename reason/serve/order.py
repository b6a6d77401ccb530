"""A request as work to do: which method, on what, within which limits."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reason.config import merge
from reason.question import Question, Turn
from reason.serve.fault import Fault
from reason.serve.knobs import check_knobs
from reason.serve.refusal import check_fields
from reason.serve.request import AsObject, AsSchema, ChatRequest, CompletionRequest, Said
from reason.serve.service import PLAIN, Service
from reason.types import Grammar, Message

ONE_THREAD = ("single", "ape")
"""Methods that are one request to a model, so that what shapes that shapes their answer."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a request comes to."""

    turn: Turn
    """Its budget is that of one choice."""
    model: str
    """As the client named it."""
    n: int = 1
    seed: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: bool = False
    stream: bool = False
    usage: bool = False
    """Whether a stream ends with what it cost."""
    events: bool = False

    def seed_of(self, index: int) -> int | str | None:
        """Of one of the choices; the first one's is that of the request."""
        return self.seed if self.seed is None or not index else f"{self.seed}/{index}"


def ordered(request: ChatRequest | CompletionRequest, service: Service) -> Order:
    """Raises Fault for what cannot be done, and UsageError."""
    check_fields(request)
    own = dict(request.reason or {})
    check_knobs(own)
    events = own.pop("events", False)
    if not isinstance(events, bool):
        raise Fault(400, f"reason.events must be true or false, got {events!r}", param="reason")
    n = request.n or 1
    if n > 1 and events:
        raise Fault(400, "reason.events tells of one run: leave n out", param="n")
    if n > service.limits.budget.threads:
        allowed = f"{service.limits.budget.threads:g}"
        raise Fault(400, f"n must be {allowed} at most on this server, got {n}", param="n")
    tables = _settings(request, own, service)
    turn = _turn(request, tables, service)
    most = _most(request)
    budget = service.limits.allowed(turn.budget, n)
    if most is not None:
        budget = replace(budget, total_tokens=min(budget.total_tokens, most))
    chat = isinstance(request, ChatRequest)
    logprobs = bool(request.logprobs) if chat else request.logprobs is not None
    if logprobs:
        _alone(tables["controller"], "logprobs")
        _check_logprobs(service)
    options = request.stream_options
    return Order(
        replace(turn, budget=budget),
        request.model,
        n,
        request.seed,
        _stops(request.stop),
        logprobs,
        bool(request.stream),
        bool(options and options.include_usage),
        events,
    )


def _turn(
    request: ChatRequest | CompletionRequest, tables: dict[str, Any], service: Service
) -> Turn:
    """What a chat asks; or a text to go on with, whatever problem stands in it."""
    if isinstance(request, ChatRequest):
        said = [_message(each, f"messages[{i}]") for i, each in enumerate(request.messages)]
        return service.prepare(said, tables, service.models)
    text = _text(request.prompt)
    turn = service.prepare(text, tables, service.models)
    if service.models["policy"].info.grammar:
        return turn
    bare = tables["controller"] == PLAIN and tables.get("syntax") == "plain"
    question = Question(text, text, scorers=turn.question.scorers)
    return replace(turn, question=question, asides=() if bare else turn.asides)


def _settings(
    request: ChatRequest | CompletionRequest, own: dict[str, Any], service: Service
) -> dict[str, Any]:
    """What is given to `Prepare`: the server's configuration, and over it what the client says."""
    method = service.method_of(request.model)
    asked = own.pop("controller", None)
    if asked is not None:
        if asked not in service.methods:
            known = ", ".join(service.methods)
            message = f"reason.controller: no method is called {asked!r}; there is: {known}"
            raise Fault(400, message, param="reason.controller", code="method_not_found")
        if method not in (None, asked):
            message = f"model asks for {method}, and reason.controller for {asked}: leave one out"
            raise Fault(400, message, param="reason.controller")
        method = str(asked)
    tables = service.settings(method)
    sampling = own.get("sampling")
    given = _sampling(request, tables["controller"])
    if isinstance(sampling, dict):
        for name in given:
            if name in sampling:
                raise Fault(400, f"{name} is given twice: leave reason.sampling.{name} out",
                            param=name)  # fmt: skip
    elif sampling is not None:
        raise Fault(400, f"reason.sampling must be an object, got {sampling!r}", param="reason")
    return merge(merge(tables, own), {"sampling": given} if given else {})


def _sampling(request: ChatRequest | CompletionRequest, method: str) -> dict[str, Any]:
    """What the client's fields say of sampling; a method's own goes where they say nothing."""
    found: dict[str, Any] = {}
    if request.temperature is not None:
        found["temperature"] = request.temperature
    if request.top_p is not None:
        found["top_p"] = request.top_p
    most = _most(request)
    if most is not None and method in ONE_THREAD:
        found["max_tokens"] = most
    if request.stop:
        _alone(method, "stop")
        found["stop"] = list(_stops(request.stop))
    form = request.response_format if isinstance(request, ChatRequest) else None
    if isinstance(form, AsObject | AsSchema):
        _alone(method, "response_format")
        schema = form.json_schema.schema if isinstance(form, AsSchema) else {"type": "object"}
        found["grammar"] = Grammar("json", json.dumps(schema))
    return found


def _most(request: ChatRequest | CompletionRequest) -> int | None:
    """Tokens that the client wants at most, in all threads together."""
    if not isinstance(request, ChatRequest) or request.max_completion_tokens is None:
        return request.max_tokens
    if request.max_tokens not in (None, request.max_completion_tokens):
        raise Fault(400, "max_tokens and max_completion_tokens differ: leave max_tokens out",
                    param="max_tokens")  # fmt: skip
    return request.max_completion_tokens


def _alone(method: str, name: str) -> None:
    """Raise Fault for what means nothing to a method of many threads."""
    if method not in ONE_THREAD:
        raise Fault(
            400,
            f"{name} is for methods of one thread: {', '.join(ONE_THREAD)}; {method} has stop "
            "strings and answers of its own",
            param=name,
        )


def _check_logprobs(service: Service) -> None:
    """Raise Fault for a model of whose answers there are none."""
    model, info = service.model, service.models["policy"].info
    if not info.token_ids:
        raise Fault(400, f"{model} tells no log-probabilities: leave logprobs out",
                    param="logprobs")  # fmt: skip
    if info.grammar:
        raise Fault(
            400,
            f"{model} does not write its answer as it is shown, so that the answer has no "
            "tokens of its own: leave logprobs out; with reason.events=true the tokens that it "
            "writes come with theirs",
            param="logprobs",
        )


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    found = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(found):
        raise Fault(400, "stop must be without empty strings", param="stop")
    return found


def _text(prompt: str | list[str]) -> str:
    said = prompt if isinstance(prompt, str) else prompt[0]
    if not said:
        raise Fault(400, "the prompt is empty", param="prompt")
    return said


def _message(said: Said, at: str) -> Message:
    """Raises Fault for what no model here can read."""
    if said.role in ("tool", "function") or said.tool_call_id is not None:
        raise Fault(
            400, f"{at}: methods call no tools, so that there is no message of one", param=at
        )
    if said.name is not None:
        raise Fault(400, f"{at}.name is not supported: say it in the content", param=f"{at}.name")
    if said.content is None:
        raise Fault(400, f"{at}.content is missing", param=f"{at}.content")
    parts = [said.content] if isinstance(said.content, str) else [p.text for p in said.content]
    role: Any = "system" if said.role == "developer" else said.role
    return Message(role=role, content="".join(parts))
