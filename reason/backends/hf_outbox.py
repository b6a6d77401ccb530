"""News of requests, on their way from the thread that runs the model to the loops of who asked."""

import asyncio
import time

from reason.backends.hf_request import Delivery, Request
from reason.types import Finish

_PATIENCE = 0.02
"""Seconds that sampled tokens may wait, so that several reach who asked in one go."""


class Outbox:
    """Gathers news and sends them: what is first or last of a request at once, the rest now and
    then."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        """Those with news."""
        self._sent = 0.0

    def sampled(self, request: Request, token: int, logprob: float) -> None:
        news = request.news
        if not news.ids:
            self._waiting.append(request)
        news.ids.append(token)
        news.logprobs.append(logprob)

    def ended(self, request: Request, finish: Finish, error: str) -> None:
        request.news.finish, request.news.error = finish, error
        if request not in self._waiting:
            self._waiting.append(request)

    def send(self) -> None:
        now = time.monotonic()
        late = now - self._sent >= _PATIENCE
        kept: list[Request] = []
        outgoing: dict[asyncio.AbstractEventLoop, list[tuple[Request, Delivery]]] = {}
        for request in self._waiting:
            news = request.news
            if late or news.finish is not None or len(news.ids) == request.sampled:
                outgoing.setdefault(request.loop, []).append((request, news))
                request.news = Delivery()
            else:
                kept.append(request)
        self._waiting = kept
        if late:
            self._sent = now
        for loop, batch in outgoing.items():
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the loop is closed: nobody waits for these any more
                for request, _ in batch:
                    request.cancelled = True


def _deliver(batch: list[tuple[Request, Delivery]]) -> None:
    for request, news in batch:
        request.deliver(news)
