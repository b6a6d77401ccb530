"""What the server says of itself to machines, as OpenAPI 3.1."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from reason.serve.fault import KINDS
from reason.serve.request import ChatRequest, CompletionRequest, Steer

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANSWER = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"enum": ["chat.completion", "text_completion"]},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "usage": {"type": "object"},
        "reason": {"type": "object"},
    },
}
_CARD = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": {"type": "string"}, "object": {"const": "model"}},
}
_CARDS = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _CARD}},
}
_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "a chunk as JSON, or [DONE]"}},
}
"""Of a stream: before OpenAPI 3.2 its schema is that of an event."""
_OBJECT = {"type": "object"}
_JSON = "application/json"


def document(models: Sequence[str]) -> dict[str, Any]:
    """Every path, with what it takes and what it answers; `models` are what may be asked for."""
    (chat, text, steer), components = msgspec.json.schema_components(
        (ChatRequest, CompletionRequest, Steer), ref_template="#/components/schemas/{name}"
    )
    for name in ("ChatRequest", "CompletionRequest"):
        components[name]["properties"]["model"] = {"enum": list(models)}
    stream = {"text/event-stream": {"schema": _EVENT}}
    answers = {"content": {_JSON: {"schema": _ANSWER}, **stream}}
    failed = (400, 401, 408, 413, 429, 500, 502, 503)
    run = {"name": "run", "in": "path", "required": True, "schema": {"type": "string"}}
    model = {**run, "name": "model"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "reason serve", "version": version("reason-engine")},
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": _taking(chat, answers, *failed, 404)},
            "/v1/completions": {"post": _taking(text, answers, *failed, 404)},
            "/v1/reason/runs/{run}": {
                "parameters": [run],
                "post": _taking(steer, _of(_OBJECT), *failed, 404),
            },
            "/v1/models": {"get": _answering(_of(_CARDS), 401)},
            "/v1/models/{model}": {"parameters": [model], "get": _answering(_of(_CARD), 401, 404)},
            "/health": {"get": _answering(_of(_OBJECT), 503)},
            "/metrics": {
                "get": _answering({"content": {"text/plain": {"schema": {"type": "string"}}}}, 401)
            },
            "/openapi.json": {"get": _answering(_of(_OBJECT))},
        },
    }


def _of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {_JSON: {"schema": schema}}}


def _taking(schema: dict[str, Any], answer: dict[str, Any], *failed: int) -> dict[str, Any]:
    body = {"required": True, "content": {_JSON: {"schema": schema}}}
    return {"requestBody": body, **_answering(answer, *failed)}


def _answering(answer: dict[str, Any], *failed: int) -> dict[str, Any]:
    error = _of({"$ref": "#/components/schemas/Error"})
    faults = {str(status): {"description": KINDS[status], **error} for status in failed}
    return {"responses": {"200": {"description": "done", **answer}, **faults}}
