"""One request to a model in this process: what is asked, how far it is, and who waits for it."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from reason.backends.detokenize import StopStrings
from reason.backends.hf_contexts import Beside, Layers
from reason.errors import BackendError
from reason.types import Finish, SamplingParams


@dataclass(slots=True)
class Delivery:
    """News of a request, on its way from the worker to who asked."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None
    error: str = ""
    """What to raise, with finish "error"."""


class Part(NamedTuple):
    """Tokens [start, stop) of a request's context, to be computed in one step."""

    request: "Request"
    start: int
    stop: int
    scored: bool
    """Whether the log-probabilities of what follows each of them are wanted."""


@dataclass(slots=True, eq=False)
class Request:
    """A sequence to continue, or to score. The first group of fields belongs to the worker."""

    ids: list[int]
    """Prompt and what was sampled so far."""
    params: SamplingParams
    loop: asyncio.AbstractEventLoop
    stops: StopStrings | None = None
    scored: int | None = None
    """Score from this position on, and sample nothing."""
    whole: list[torch.Tensor] | None = None
    """Of what is scored, keep the log-probabilities of every token [n, vocabulary] here, too."""
    beside: Beside | None = None
    """Contexts that it reads; `ids` are without them."""
    encodes: int | None = None
    """Hand over keys and values from this position on, and sample nothing."""
    encoded: Layers = field(default_factory=list)
    prompt: int = 0
    seed: int = 0
    slot: int = -1
    done: int = 0
    """Tokens whose keys and values are computed."""
    cached: int = 0
    stopped_at: str | None = None
    news: Delivery = field(default_factory=Delivery)

    cancelled: bool = False
    _arrived: list[Delivery] = field(default_factory=list)
    _waiter: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.prompt = len(self.ids)
        seed = self.params.seed
        self.seed = (random.getrandbits(64) if seed is None else seed) % 2**64

    @property
    def sampled(self) -> int:
        return len(self.ids) - self.prompt

    @property
    def marked(self) -> list[int]:
        """Its ids as caches compare them."""
        if self.beside is None:
            return self.ids
        first, mark = self.beside.prefix, self.beside.mark
        return [*self.ids[:first], *(id + mark for id in self.ids[first:])]

    @property
    def reads(self) -> Beside | None:
        """The contexts that what comes next reads."""
        return self.beside if self.beside and self.done >= self.beside.prefix else None

    @property
    def todo(self) -> int:
        """Tokens of the context still to be computed before the next one can be sampled."""
        return len(self.ids) - 1 - self.done

    def plan(self, room: int, parts: list[Part]) -> int:
        """Add what to compute next of its context, at most `room` tokens; how many there are."""
        n = min(self.todo, room)
        if n <= 0:
            return 0
        if self.beside and self.done < self.beside.prefix:
            n = min(n, self.beside.prefix - self.done)
        scored = False
        if self.scored is not None:
            scored = self.done >= self.scored - 1
            if not scored:
                n = min(n, self.scored - 1 - self.done)
        parts.append(Part(self, self.done, self.done + n, scored))
        return n

    def deliver(self, news: Delivery) -> None:
        """Called in the loop of who asked."""
        self._arrived.append(news)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Delivery:
        """All news since the last call, as one; waits for some. Raises BackendError."""
        while not self._arrived:
            self._waiter = self.loop.create_future()
            await self._waiter
        arrived, self._arrived = self._arrived, []
        news = arrived[0]
        for later in arrived[1:]:
            news.ids += later.ids
            news.logprobs += later.logprobs
            news.finish, news.error = later.finish, later.error
        if news.error:
            raise BackendError(news.error)
        return news
