"""A gateway as stands before hosted models: it forwards what it lets through to a real server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

STANDARD = {
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
    *("seed", "stop", "stream", "stream_options", "response_format"),
}
"""What OpenAI's own API knows, but for log-probabilities."""


@dataclass
class Gateway:
    """Its rules; they may be changed while it runs."""

    upstream: str
    """Base of the server behind it, without /v1."""
    url: str = ""
    key: str = ""
    busy: int = 0
    """Requests that are still to be answered with 429."""
    retry_after: str = "0"
    missing: tuple[str, ...] = ()
    """Paths that it does not have."""
    refused: tuple[str, ...] = ()
    """Fields that it takes no request with."""
    replaced: dict[bytes, bytes] = field(default_factory=dict)
    """What it writes in the place of what, in every line of an answer."""
    narrow: bool = False
    """Leave out the fields that OpenAI does not have."""
    cut: int = 0
    """Events after which it breaks off an answer."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the requests that came."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if self.key and given != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}")
        if request.path in self.missing:
            return _error(404, f"Not found: {request.path}")
        body = await request.json() if request.can_read_body else None
        if body is not None:
            self.seen.append(body)
            if self.busy:
                self.busy -= 1
                return _error(429, "Rate limit reached", {"Retry-After": self.retry_after})
            for name in self.refused:
                if name in body:
                    instead = "max_completion_tokens" if name == "max_tokens" else "another one"
                    return _error(400, f"Unsupported parameter: '{name}'. Use '{instead}' instead.")
            if self.narrow:
                body = {name: body[name] for name in body if name in STANDARD}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self.upstream + request.path, json=body) as found,
        ):
            response = web.StreamResponse(status=found.status)
            response.content_type = found.content_type
            await response.prepare(request)
            count = 0
            async for line in found.content:
                for old, new in self.replaced.items():
                    line = line.replace(old, new)
                await response.write(line)
                count += line.startswith(b"data: ")
                if self.cut and count == self.cut and request.transport:
                    request.transport.abort()
                    break
            return response


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    return web.Response(status=status, text=text, headers=headers, content_type="application/json")


@contextmanager
def gateway(upstream: str, **rules: Any) -> Iterator[Gateway]:
    """One that runs in a thread of its own, on a free port of 127.0.0.1."""
    rules = {"upstream": upstream.removesuffix("/v1"), **rules}
    found, ready = Gateway(**rules), threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", found.answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        found.url = f"http://{host}:{port}/v1"
        ready.set()
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(30)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
