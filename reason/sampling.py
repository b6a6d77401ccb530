"""Asking a model for the next segment of a thread, within what the run may spend."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import aclosing

from reason.backends.base import Backend, ParallelEncoder
from reason.errors import BackendError, Unsupported, finish_of
from reason.journal import Journal
from reason.steering import Steering
from reason.types import Finish, SamplingParams, Segment, Thread

Enough = Callable[[Segment], bool]


def parallel(backend: Backend) -> ParallelEncoder:
    """The backend, if it reads contexts side by side. Raises Unsupported."""
    if not isinstance(backend, ParallelEncoder):
        raise Unsupported(
            f"{backend.info.model} cannot read contexts side by side over this interface; models "
            "in this process (hf:) and SGLang servers with the plug-in (sglang://) can"
        )
    return backend


class Sampling:
    """The requests of one run; `seed` is that of the run."""

    def __init__(
        self,
        backend: Callable[[str], Backend],
        journal: Journal,
        steering: Steering,
        seed: int | str | None,
    ) -> None:
        self._backend, self._journal, self._steering = backend, journal, steering
        self.seed = seed

    async def generate(
        self, thread: Thread, params: SamplingParams, enough: Enough | None
    ) -> Segment:
        """See Engine.generate."""
        self._steering.writable(thread)
        index, start = len(thread.segments), thread.length
        finish: Finish | None = None
        while finish is None:  # more than once only if the budget is extended meanwhile
            done = thread.length - start
            left, room = params.max_tokens - done, self._journal.ledger.room(thread)[0]
            if min(left, room) < 1 or self._steering.expired:
                finish = "length" if left < 1 else "budget"
                self._ended(thread, index, finish)
            else:
                place = f"{thread.id}/{index}" + (f"+{done}" if done else "")
                # Its children done, a parent is what the whole run waits for.
                goes_on = thread.children or (thread.continues and thread.kept)
                priority = params.priority + bool(goes_on)
                seed, most = self.seed_at(place, params.seed), int(min(left, room))
                request = params.but(max_tokens=most, seed=seed, priority=priority)
                finish = await self._request(thread, index, request, room < left, enough)
        if finish == "budget":
            limit = "seconds" if self._steering.expired else self._journal.ledger.room(thread)[1]
            raise self._journal.exceed(limit)
        return thread.segments[index]

    async def _request(
        self,
        thread: Thread,
        index: int,
        params: SamplingParams,
        bound: bool,
        enough: Enough | None,
    ) -> Finish | None:
        """One request to the model; None if it was the budget that ended it. `bound`: whether
        `max_tokens` is the room the budget left, rather than what was asked for."""
        finish: Finish | None = None
        sampled, length = 0, thread.length
        sent = length
        backend = self._backend(thread.model)
        stream = (
            parallel(backend).generate_parallel(thread.ids, thread.layout, params)
            if thread.layout
            else backend.generate(thread.ids, params)
        )
        with self._steering.working_for(thread):
            try:
                async with aclosing(stream) as chunks:
                    async for c in chunks:
                        sampled += len(c.ids)
                        finish = c.finish
                        if c.usage:  # of a chat, only the model knows its length
                            sent += c.usage.prompt_tokens - length
                        if bound and finish == "length" and sampled >= params.max_tokens:
                            finish = None
                        self._journal.sampled(thread, index, c, finish, sent)
                        sent = 0  # told once, however the request ends
                        if self._steering.stopped(thread):
                            await asyncio.sleep(0)  # by a sink just now: be cancelled here
                        if c.finish or self._journal.ledger.room(thread)[0] < 1:
                            return finish
                        if enough and enough(thread.segments[index]):
                            self._ended(thread, index, "stop")
                            return "stop"
                raise BackendError(f"{thread.model} stopped answering without saying why")
            except BaseException as error:
                if finish is None:
                    why = "budget" if thread.id in self._steering.late else finish_of(error)
                    self._ended(thread, index, why, 0 if why == "error" else sent)
                raise

    def _ended(self, thread: Thread, index: int, finish: Finish, sent: int = 0) -> None:
        """The end of a segment that the model did not end: its last tokens may be part of a
        character, or of none, and their text has been held back."""
        text = ""
        for segment in thread.segments[index:]:
            whole = self._backend(thread.model).decode(segment.ids)
            text = whole.removeprefix(segment.text) if whole.startswith(segment.text) else ""
        self._journal.ended(thread, index, finish, sent, text)

    def seed_at(self, place: str, own: int | None = None) -> int | None:
        """Depends on the place in the tree, not on who ran first; and on the run's seed and that
        of the parameters, on both where both are given."""
        given = [str(seed) for seed in (self.seed, own) if seed is not None]
        if not given:
            return None
        base = "+".join(given)
        digest = hashlib.blake2b(f"{base}/{place}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) >> 1
