"""The endpoints that answer: /v1/chat/completions and /v1/completions."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reason.errors import ReasonError
from reason.serve.access import check_key
from reason.serve.delivery import GONE, Delivery
from reason.serve.envelope import Envelope
from reason.serve.fault import Fault, fault_of, invalid
from reason.serve.job import Job
from reason.serve.order import Order, ordered
from reason.serve.outbox import Bell, Outbox
from reason.serve.reply import Reply
from reason.serve.request import ChatRequest, CompletionRequest
from reason.serve.service import Service
from reason.serve.transcript import Transcript
from reason.steer import LocalSteer

READING = 30.0
"""Seconds in which a request must have come as a whole."""


class Completions:
    """One of the two, as an ASGI application."""

    def __init__(
        self,
        service: Service,
        endpoint: str,
        decode: Callable[[bytes], ChatRequest | CompletionRequest],
        reply: Callable[[], Reply],
    ) -> None:
        self._service, self._endpoint = service, endpoint
        self._decode, self._reply = decode, reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, method, status = time.monotonic(), "", 500
        jobs: list[Job] = []
        try:
            request = Request(scope, receive)
            check_key(request.headers.get("authorization"), self._service.keys)
            with self._service.limits.room():
                body = await read(request, self._service.limits.body)
                if self._service.closing:
                    raise self._service.ended()
                order = self._order(body)
                method = order.turn.controller.name
                delivery = self._delivery(order, send)
                jobs += delivery.jobs
                status = await delivery.go(receive, order.stream)
        except ClientDisconnect:
            status = GONE
        except Fault as fault:
            status = fault.status
            await refuse(fault)(scope, receive, send)
        finally:
            firsts = [job.first - began for job in jobs if job.first]
            metrics, seconds = self._service.metrics, time.monotonic() - began
            metrics.answered(self._endpoint, method, status, seconds, min(firsts, default=None))
            metrics.spent(jobs)

    def _order(self, body: bytes) -> Order:
        try:
            return ordered(self._decode(body), self._service)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise invalid(error) from None
        except ReasonError as error:
            raise fault_of(error) from None

    def _delivery(self, order: Order, send: Send) -> Delivery:
        service, reply, bell = self._service, self._reply(), Bell()
        id = f"{reply.begin}{uuid4().hex}"
        envelope = Envelope(id, order.model, reply, order.usage, order.events, order.logprobs)
        jobs = []
        allowed = partial(service.limits.allowed, choices=order.n)
        for index in range(order.n):
            outbox = Outbox(bell, order.events)
            jobs.append(
                Job(
                    id if order.n == 1 else f"{id}-{index}",
                    index,
                    order.turn,
                    service.models,
                    order.seed_of(index),
                    bell,
                    outbox,
                    Transcript(order.turn, service.models, outbox, order.stops, order.logprobs),
                    LocalSteer(order.turn.controller, order.turn.answer, allowed),
                )
            )
        return Delivery(service, envelope, jobs, bell, send)


async def read(request: Request, most: int) -> bytes:
    """The body of a request. Raises Fault for one that is too long, or takes too long."""
    found = bytearray()
    try:
        async with asyncio.timeout(READING):
            async for piece in request.stream():
                found += piece
                if len(found) > most:
                    raise Fault(
                        413, f"a request has {most} bytes at most here", code="request_too_large"
                    )
    except TimeoutError:
        raise Fault(408, f"the request took longer than {READING:g} s to arrive") from None
    return bytes(found)


def refuse(fault: Fault) -> Response:
    """A fault as a response."""
    body = msgspec.json.encode(fault.body)
    return Response(body, fault.status, fault.headers, "application/json")
