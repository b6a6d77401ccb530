"""A server on a port, from its first request to Ctrl-C."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from reason.errors import UsageError
from reason.serve.app import app_of
from reason.serve.service import Service

GRACE = 5
"""Seconds in which answers that were ended must be sent."""
BACKLOG = 2048


class Server(uvicorn.Server):
    """On Ctrl-C or SIGTERM what is going on is ended, and clients are told so."""

    def __init__(self, service: Service, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app_of(service),
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self._service, self._listening = service, listening
        self.stopped_by: int | None = None
        """The signal that ended it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals go through the event loop, and no further; only the main thread hears them."""
        main = threading.current_thread() is threading.main_thread()
        loop = asyncio.get_running_loop()
        heard = (signal.SIGINT, signal.SIGTERM) if main else ()
        for each in heard:
            loop.add_signal_handler(each, self._stop, each)
        try:
            yield
        finally:
            for each in heard:
                loop.remove_signal_handler(each)

    async def run_until_stopped(self) -> None:
        await self.serve(sockets=[self._listening])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, end what is going on, and close."""
        await self._service.end()
        await super().shutdown(sockets)

    def _stop(self, by: int) -> None:
        self.force_exit = self.should_exit  # a second time: at once
        self.should_exit, self.stopped_by = True, by


def listen(host: str, port: int) -> socket.socket:
    """A socket on that address. Raises UsageError for one that is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from None
    found.listen(BACKLOG)
    return found


async def serve(
    service: Service, host: str, port: int, say: Callable[[str], object] = lambda line: None
) -> int:
    """Serve until a signal comes; the exit code: 0 after SIGTERM, 130 after Ctrl-C. `say` is told
    where. Raises UsageError where the address is not to be had."""
    listening = listen(host, port)
    server = Server(service, listening)
    shown = f"[{host}]" if ":" in host else host
    say(f"{service.model} at http://{shown}:{listening.getsockname()[1]}/v1")
    await server.run_until_stopped()
    return 130 if server.stopped_by == signal.SIGINT else 0
