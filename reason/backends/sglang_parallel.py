"""Contexts read side by side on an SGLang server that has our plug-in, `sglang_ape`."""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec

from reason.backends.base import Chunk, Usage
from reason.backends.http import Busy, Patience, Refused, Server
from reason.backends.sglang_ape import wire
from reason.backends.sglang_handshake import Greeted
from reason.backends.sglang_wire import Event
from reason.errors import BackendError, Unsupported
from reason.types import Layout, SamplingParams

AT_ONCE = 16
"""Contexts of one query that are encoded at the same time."""
REMEMBERED = 100_000
"""Contexts known to be on the server; beyond, the oldest are encoded again where they are used."""


class Missing(BackendError):
    """Contexts of a query, counted from 0, are not in the server's cache."""

    def __init__(self, contexts: tuple[int, ...]) -> None:
        super().__init__(f"the server dropped contexts {list(contexts)}, counted from 0")
        self.contexts = contexts


class Parallel:
    """Encodes contexts on the server, each once, and sends the queries that read them."""

    def __init__(
        self,
        server: Server,
        greeted: Greeted,
        sample: Callable[..., AsyncGenerator[Chunk, None]],
        score: Callable[..., Awaitable[list[float]]],
    ) -> None:
        """`sample` and `score` are a backend's own, which take `custom_params` beside."""
        self._server, self._is = server, greeted
        self._sample, self._score = sample, score
        self._known: dict[bytes, None] = {}
        self._running: dict[bytes, asyncio.Task[int]] = {}

    def require(self) -> None:
        """Raise Unsupported for a server that cannot."""
        if not self._is.parallel:
            raise Unsupported(
                f"{self._server.url} cannot read contexts side by side: install reason-engine "
                "beside SGLang there and start it with --radix-cache-backend reason_ape"
            )

    async def generate(
        self, ids: Sequence[int], layout: Layout, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """See `ParallelEncoder.generate_parallel`.

        Contexts that the server has lost meanwhile are encoded again, and the query goes on where
        it was, unless a grammar is in the middle of something. Raises BackendError where that does
        not help, and Unsupported.
        """
        self._is.info.check(ids)
        fits = self._fits(ids, layout)
        asks = min(params.max_tokens, fits) > 0
        custom, begun, new = wire.query(layout), list[int](), 0
        patience: Patience | None = None
        while True:
            spent = await self._encode(ids, layout, params.priority) if asks else 0
            new += 0 if begun else spent
            try:
                stream = self._sample(ids, params, fits, custom, tuple(begun))
                async with aclosing(stream) as chunks:
                    async for chunk in chunks:
                        begun += chunk.ids
                        patience = None if chunk.ids else patience
                        if chunk.usage is not None:
                            cached = max(min(chunk.usage.cached_tokens, layout.end) - new, 0)
                            chunk = replace(chunk, usage=Usage(len(ids), cached))
                        yield chunk
                return
            except Missing as lost:
                if begun and params.grammar is not None:  # it would begin anew in the middle
                    raise
                patience = await self._again(ids, layout, lost.contexts, patience)

    async def score(self, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
        """See `ParallelEncoder.score_parallel`. Raises BackendError and Unsupported."""
        self._is.info.check(ids)
        if not layout.end < start <= len(ids):
            raise BackendError(
                f"start is {start}; expected {layout.end}, the end of the contexts, < start <= "
                f"{len(ids)}, the ids given"
            )
        if self._fits(ids, layout) < 0:
            raise BackendError(
                f"{len(ids) - layout.shift} positions to score, but the context of "
                f"{self._is.info.model} is {self._is.info.context}"
            )
        patience: Patience | None = None
        while True:
            await self._encode(ids, layout, 0)
            try:
                return await self._score(ids, start, wire.query(layout))
            except Refused as error:
                lost = wire.lost(str(error))
                if lost is None:
                    raise
                patience = await self._again(ids, layout, lost, patience)

    def _fits(self, ids: Sequence[int], layout: Layout) -> int:
        """How many tokens may follow. Raises BackendError and Unsupported."""
        self.require()
        if layout.end >= len(ids):
            raise BackendError(
                f"prefix and contexts have {layout.end} tokens of {len(ids)}; expected some that "
                "read them"
            )
        left = self._is.info.context - (len(ids) - layout.shift)
        if len(ids) >= self._is.longest and left > 0:
            raise BackendError(
                f"prefix, contexts and the rest have {len(ids)} tokens in all, though positions "
                f"up to {len(ids) - layout.shift} only; {self._server.url} takes "
                f"{self._is.longest} in one request. Start it with a larger --max-total-tokens, "
                "or, beyond the model's context, --context-length and "
                "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1"
            )
        return min(left, self._is.longest - len(ids))

    async def _encode(self, ids: Sequence[int], layout: Layout, priority: int) -> int:
        """See that every context is on the server; how many tokens were not there before."""
        gate = asyncio.Semaphore(AT_ONCE)
        tasks: dict[asyncio.Task[int], int] = {}
        mine = []
        for key, context in self._contexts(ids, layout):
            if key in self._known:
                self._known[key] = self._known.pop(key)
                continue
            task = self._running.get(key)
            if task is None or task.get_loop() is not asyncio.get_running_loop():
                task = asyncio.ensure_future(self._encode_one(key, context, priority, gate))
                self._running[key] = task
                task.add_done_callback(partial(self._ended, key))
                mine.append((task, len(context)))
            tasks[task] = len(context)
        # Another query may wait for the same contexts: they go on if this one is cancelled.
        await asyncio.gather(*map(asyncio.shield, tasks))
        prefix = layout.prefix
        there = [(task.result(), length) for task, length in mine]
        contexts = sum(length - max(cached, prefix) for cached, length in there)
        return contexts + max(
            (prefix - cached for cached, _ in there if cached < prefix), default=0
        )

    async def _encode_one(
        self, key: bytes, ids: list[int], priority: int, gate: asyncio.Semaphore
    ) -> int:
        """Encode prefix and context; how many of their tokens were in the cache."""
        body: dict[str, Any] = {
            "input_ids": ids,
            "sampling_params": {
                "max_new_tokens": 0,
                "temperature": 0,
                "custom_params": dict(wire.WARM),
            },
        }
        if self._is.priority:
            body["priority"] = self._is.priority * priority
        async with gate:
            answer = await self._server.post("/generate", body)
        self._known[key] = None
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        try:
            return msgspec.convert(answer, Event).meta_info.cached_tokens
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"{self._server.url} sent what SGLang does not send: {error}"
            ) from None

    def _ended(self, key: bytes, task: "asyncio.Task[int]") -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more

    async def _again(
        self,
        ids: Sequence[int],
        layout: Layout,
        lost: tuple[int, ...],
        patience: Patience | None,
    ) -> Patience:
        """Before a query is sent again. Raises BackendError where that has gone on for too long.

        The first time is at once: what was known of the cache is out of date. Later, others need
        the room just now, and pauses with jitter let one of them after the other have it.
        """
        for number, (key, _) in enumerate(self._contexts(ids, layout)):
            if number in lost or len(lost) >= wire.NAMED:
                self._known.pop(key, None)
        if patience is None:
            return self._server.patience()
        gone = (
            f"contexts of {len(ids)} tokens are gone each time before they can be read; start it "
            "with a larger --max-total-tokens, or send fewer such queries at once"
        )
        await patience.wait(Busy(gone))
        return patience

    def _contexts(self, ids: Sequence[int], layout: Layout) -> list[tuple[bytes, list[int]]]:
        """Prefix and context, of each context, and a name for them."""
        prefix, start, found = list(ids[: layout.prefix]), layout.prefix, []
        for length in layout.contexts:
            whole = [*prefix, *ids[start : start + length]]
            found.append((blake2b(array("q", whole), digest_size=16).digest(), whole))
            start += length
        return found
