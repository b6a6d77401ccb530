"""The endpoints by their paths."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reason.serve.access import check_key
from reason.serve.completions import Completions, read, refuse
from reason.serve.document import document
from reason.serve.fault import Fault, invalid, unavailable
from reason.serve.metrics import CONTENT_TYPE
from reason.serve.reach import down
from reason.serve.reply import ChatReply, TextReply
from reason.serve.request import decode_chat, decode_completion, decode_steer
from reason.serve.service import Service
from reason.serve.steering import steered

Answer = Callable[[Request], Awaitable[Response]]


def app_of(service: Service) -> Starlette:
    """An ASGI application that serves these models and methods."""
    began = int(time.time())
    told = msgspec.json.encode(document(list(service.served)))

    def card(name: str) -> dict[str, Any]:
        method = service.served[name]
        own = {
            "model": service.model,
            "controller": service.settings(method)["controller"],
            "grammar": service.models["policy"].info.grammar,
        }
        card = {"id": name, "object": "model", "created": began, "owned_by": "reason"}
        return {**card, "reason": own}

    async def models(request: Request) -> Response:
        return _json({"object": "list", "data": [card(name) for name in service.served]})

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        service.method_of(name)
        return _json(card(name))

    async def steer(request: Request) -> Response:
        try:
            asked = decode_steer(await read(request, service.limits.body))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise invalid(error) from None
        return _json(await steered(request.path_params["run"], asked, service))

    async def health(request: Request) -> Response:
        reason = await down(service.models)
        if reason or service.closing:
            raise unavailable(reason or "the server is shutting down")
        return _json(
            {"status": "ok", "model": service.model, "in_flight": service.limits.in_flight}
        )

    async def metrics(request: Request) -> Response:
        running = list(service.runs.values())
        text = service.metrics.text(running, service.limits.in_flight)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def openapi(request: Request) -> Response:
        return Response(told, media_type="application/json")

    def locked(answer: Answer) -> Answer:
        async def checked(request: Request) -> Response:
            check_key(request.headers.get("authorization"), service.keys)
            return await answer(request)

        return checked

    chat = Completions(service, "chat", decode_chat, ChatReply)
    text = Completions(service, "text", decode_completion, TextReply)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", text, methods=["POST"]),
            Route("/v1/reason/runs/{run}", locked(steer), methods=["POST"]),
            Route("/v1/models", locked(models), methods=["GET"]),
            Route("/v1/models/{model:path}", locked(model), methods=["GET"]),
            Route("/metrics", locked(metrics), methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
        ],
        exception_handlers={Fault: _refused, HTTPException: _unknown, Exception: _failed},
    )


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Fault)
    return refuse(fault)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = "see /openapi.json for what there is"
    said = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}; {known}"
    return refuse(Fault(error.status_code, said, headers=error.headers))


async def _failed(request: Request, bug: Exception) -> Response:
    return refuse(Fault(500, "the server failed; its log says why", code="internal_error"))
