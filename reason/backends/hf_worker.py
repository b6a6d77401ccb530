"""The thread that runs the model: who is in the batch, step by step."""

import heapq
import math
import threading

import numpy as np
import torch

from reason.backends.hf_model import Rows, SlotModel
from reason.backends.hf_outbox import Outbox
from reason.backends.hf_request import Delivery, Part, Request
from reason.backends.sampler import Settings, logprobs, sample
from reason.backends.tokenizer import first_line
from reason.errors import BackendError
from reason.types import Finish

_PIECES = 3
"""Stretches of adjacent live slots above which the gaps between them are closed."""


class Worker:
    """Runs requests together, in one thread that starts with the first of them.

    Requests enter and leave between steps. A step computes the next token of every sequence that
    is ready for it, and some rows of the prompts of others.
    """

    def __init__(
        self, model: SlotModel, *, eos: frozenset[int], max_batch: int, context: int
    ) -> None:
        self._model = model
        self._eos = eos
        self._max_batch = max_batch
        self._context = context
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._stale = False
        self._serial = 0
        self._arrived: list[Request] = []
        self._queue: list[tuple[int, int, Request]] = []
        self._live: list[Request] = []
        self._outbox = Outbox()
        self._column: list[Request] = []
        self._settings: Settings | None = None

    @property
    def running(self) -> int:
        """Requests that have not ended, those that wait their turn included."""
        with self._changed:
            waiting = [*self._arrived, *(request for _, _, request in self._queue)]
            return len(self._live) + sum(not request.cancelled for request in waiting)

    def submit(self, request: Request) -> None:
        """Queue a request. Raises BackendError after `close`."""
        with self._changed:
            if self._closed:
                raise BackendError("this backend is closed; load the model again")
            self._arrived.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="reason-hf", daemon=True)
                self._thread.start()
            self._changed.notify()

    async def whole(self, request: Request, doing: str) -> Delivery:
        """Submit a request of which nothing is sampled, and wait for what comes of it at once.

        Raises BackendError, also where the worker is closed meanwhile.
        """
        self.submit(request)
        try:
            news = await request.receive()
        finally:
            request.cancelled = True
        if news.finish == "cancelled":
            raise BackendError(f"the backend was closed while {doing}")
        return news

    def close(self) -> None:
        """End the thread, and with "cancelled" what still runs. Waits for the step in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join()
        self._everyone("cancelled")

    def forget(self) -> None:
        """Share no more of what has been computed so far, nor what goes on from it."""
        with self._changed:
            self._stale = True

    def _main(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._step()
        finally:
            # Also reached when a step fails in a way that nobody foresaw: nobody may wait forever.
            with self._changed:
                unforeseen, self._closed = not self._closed, True
            if unforeseen:
                self._everyone("error", "the model's worker thread ended; see its traceback")

    def _wait(self) -> bool:
        """Wait until there is something to do, and put new requests in line; False when closed."""
        with self._changed:
            while not (self._arrived or self._queue or self._live or self._closed):
                self._changed.wait()
            for request in self._arrived:
                self._serial += 1
                heapq.heappush(self._queue, (-request.params.priority, self._serial, request))
            self._arrived.clear()
            if self._stale:
                self._model.cache.forget()
                self._stale = False
            return not self._closed

    def _step(self) -> None:
        """Let requests in and out, run the model once, hand out what it sampled."""
        for request in [r for r in self._live if r.cancelled]:
            self._leave(request)
        try:
            parts = self._admit()
            column = self._align([r for r in self._live if not r.todo and r.scored is None])
            if parts or column:
                self._run(parts, column)
        except RuntimeError as error:  # what torch raises, running out of memory included
            self._everyone("error", f"the model failed: {first_line(error)}")
            self._model.cache.reset()
        self._outbox.send()

    def _admit(self) -> list[Part]:
        """Let in who fits; the stretches of prompts to compute in this step."""
        room = self._model.most - sum(not r.todo for r in self._live)
        parts: list[Part] = []
        for request in self._live:
            room -= request.plan(room, parts)
        waiting = []
        try:
            while self._queue and room > 0 and len(self._live) < self._max_batch:
                entry = heapq.heappop(self._queue)
                request = entry[2]
                if request.cancelled:
                    continue
                waiting.append(entry)
                if not self._model.cache.fits(len(request.ids) + 1):
                    break  # nobody overtakes, or it might wait forever
                last = len(request.ids) - 1
                most = last if request.scored is None else min(request.scored, last) - 1
                cached = self._model.cache.place(request, request.marked, most)
                if cached is not None:
                    waiting.pop()
                    self._live.append(request)
                    request.done = request.cached = cached
                    room -= request.plan(room, parts) if request.todo else 1
                elif self._model.cache.full:
                    break
        finally:
            for entry in waiting:
                heapq.heappush(self._queue, entry)
        # Rows whose logits are wanted come last.
        return sorted(parts, key=lambda part: part.scored)

    def _align(self, column: list[Request]) -> list[Request]:
        """Make slots wide enough and adjacent; the requests in the order of their slots."""
        cache = self._model.cache
        if column:
            cache.widen(1 + max(request.done for request in column))
            if 1 + np.count_nonzero(np.diff(cache.live) != 1) > _PIECES:
                cache.close_gap()
        return sorted(column, key=lambda request: request.slot)

    def _run(self, parts: list[Part], column: list[Request]) -> None:
        rows = Rows()
        scored = 0
        for part in parts:
            ids = part.request.ids[part.start : part.stop]
            rows.stretch(part.request.slot, part.start, ids, part.request.reads)
            scored += (part.stop - part.start) * part.scored
        if column:
            rows.column(
                np.array([r.slot for r in column], np.int64),
                np.array([r.done for r in column], np.int64),
                np.array([r.ids[-1] for r in column], np.int64),
                [r.beside for r in column],
            )
        logits = self._model.forward(rows, scored + len(column))
        first = 0
        for part in parts:
            request = part.request
            request.done = part.stop
            if part.scored:
                n = part.stop - part.start
                targets = torch.tensor(request.ids[part.start + 1 : part.stop + 1])
                if request.whole is not None:
                    request.whole.append(logits[first : first + n].log_softmax(-1).cpu())
                picked = logprobs(logits[first : first + n], targets.to(logits.device))
                request.news.logprobs += picked.tolist()
                first += n
                if picked.isnan().any():
                    self._refuse(request, math.nan)
                    continue
            if request.encodes is not None and not request.todo:
                request.encoded = self._model.cache.read(
                    request.slot, request.encodes, request.done
                )
            if request.scored is not None and not request.todo:
                self._end(request, "length")
        if column:
            self._sample(logits[scored:], column)

    def _sample(self, logits: torch.Tensor, column: list[Request]) -> None:
        if column != self._column or self._settings is None:
            self._column, self._settings = (
                column,
                Settings.of([r.params for r in column], [r.seed for r in column]),
            )
        count = np.array([r.sampled for r in column], np.uint64)
        tokens, picked = sample(logits, self._settings, count)
        for request, token, logprob in zip(column, tokens, picked, strict=True):
            if not math.isfinite(logprob):
                self._refuse(request, logprob)
                continue
            request.ids.append(token)
            request.done += 1
            self._outbox.sampled(request, token, logprob)
            finish = self._finish(request, token)
            if finish is not None:
                self._end(request, finish)

    def _finish(self, request: Request, token: int) -> Finish | None:
        """Why the request ends with this token, if it does."""
        if request.stops is not None:
            request.stopped_at = request.stops.push(token)
            if request.stopped_at is not None:
                return "stop"
        if token in request.params.stop_token_ids:
            return "stop"
        if token in self._eos:
            return "eos"
        ahead = request.beside.offset if request.beside else 0
        length = len(request.ids) + ahead
        full = length >= self._context or request.sampled >= request.params.max_tokens
        return "length" if full else None

    def _refuse(self, request: Request, logprob: float) -> None:
        """End a request whose context the model answers with what is no number."""
        self._model.cache.wipe(request.slot)
        message = (
            f"the model failed: a log-probability is {logprob}; its weights are damaged, or their "
            "type is too small for what it computes (dtype=float32 is not)"
        )
        self._end(request, "error", message)

    def _end(self, request: Request, finish: Finish, error: str = "") -> None:
        self._outbox.ended(request, finish, error)
        self._leave(request)

    def _leave(self, request: Request) -> None:
        if request in self._live:
            self._live.remove(request)
            self._model.cache.leave(request.slot)

    def _everyone(self, finish: Finish, error: str = "") -> None:
        """End all requests alike."""
        with self._changed:
            waiting = [*self._arrived, *(request for _, _, request in self._queue)]
            self._arrived, self._queue = [], []
        for request in [*self._live, *waiting]:
            self._end(request, finish, error)
        self._outbox.send()
