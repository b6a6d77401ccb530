"""A running SGLang server, through its native `/generate`: token ids in, ids and logprobs out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import msgspec

from reason.backends.base import Chunk, Info, Usage
from reason.backends.checkpoint import replacement
from reason.backends.detokenize import Detokenizer, StopWatch
from reason.backends.http import BUSY, Busy, Refused, Server
from reason.backends.key import authorization
from reason.backends.sglang_ape import wire
from reason.backends.sglang_handshake import greet
from reason.backends.sglang_parallel import Missing, Parallel
from reason.backends.sglang_wire import (
    Error,
    Event,
    Reason,
    finish_of,
    read,
    sampling,
    values,
)
from reason.errors import BackendError, Unsupported
from reason.types import Contexts, Layout, Prompt, SamplingParams

INTERVAL = 16
"""Tokens per event from a server that repeats the whole answer in every event."""


class SGLangBackend:
    """A `Backend` over HTTP; the server is one that runs already, or `Launched`."""

    def __init__(
        self,
        url: str,
        *,
        tokenizer: str = "",
        model: str = "",
        key_env: str = "",
        timeout: float = 300.0,
        patience: float = 60.0,
    ) -> None:
        """Greet the server at `url` and load its tokenizer.

        `tokenizer` is a folder or a name on the hub, by default the server's own. A server of
        another model than `model`, if that is given, is refused. A key, where the server wants one,
        is read from the environment variable `key_env`. `timeout` is for the seconds without a
        token, `patience` for those in which a request is tried again that the server did not take.
        Raises BackendError if it cannot be reached, UsageError if it is another.
        """
        headers = authorization(key_env)
        self._server = Server(url, timeout=timeout, patience=patience, headers=headers)
        self._is = greet(self._server, headers, tokenizer, model)
        self._parallel = Parallel(self._server, self._is, self._sample, self._score)
        self._running: set[str] = set()
        self._aborts: set[asyncio.Task[Any]] = set()

    @property
    def info(self) -> Info:
        return self._is.info

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def running(self) -> int:
        """Requests of this client that have not ended."""
        return len(self._running)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; see `Tokenizer.encode`."""
        return self._is.tokenizer.encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some ids, special tokens included."""
        return self._is.tokenizer.decode(ids)

    def generate(self, ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Chunk, None]:
        """Sample a continuation; see `Backend.generate`. Raises BackendError.

        A request that the server did not begin to answer is sent again; one that broke off is not.
        """
        return self._sample(ids, params, self._is.info.context - len(ids))

    def encode_contexts(self, prompt: Contexts) -> tuple[list[int], Layout]:
        """See `Tokenizer.encode_contexts`. Raises Unsupported for a server without the plug-in."""
        self._parallel.require()
        return self._is.tokenizer.encode_contexts(prompt)

    def generate_parallel(
        self, ids: Sequence[int], layout: Layout, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """See `ParallelEncoder.generate_parallel` and `Parallel.generate`."""
        return self._parallel.generate(ids, layout, params)

    async def score_parallel(self, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
        """See `ParallelEncoder.score_parallel` and `Parallel.score`."""
        return await self._parallel.score(ids, layout, start)

    async def _sample(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        fits: int,
        custom: Mapping[str, Any] | None = None,
        begun: Sequence[int] = (),
    ) -> AsyncGenerator[Chunk, None]:
        """At most `fits` tokens, of which the first, `begun`, were sampled before; `custom` is for
        a plug-in of the server."""
        self._is.info.check(ids)
        usage = Usage(len(ids))
        room = min(params.max_tokens, fits) - len(begun)
        if room <= 0:
            yield Chunk("", (), finish="length", usage=usage)
            return
        body: dict[str, Any] = {
            "input_ids": [*ids, *begun],
            "stream": True,
            "return_logprob": True,
            "sampling_params": sampling(params, room),
        }
        if custom is not None:
            body["sampling_params"]["custom_params"] = dict(custom)
        if params.grammar is not None and not self._is.grammars:
            raise Unsupported(f"{self.url} runs with --grammar-backend none")
        if params.seed is not None and self._is.info.reproducible == "always":
            body["sampling_params"]["sampling_seed"] = params.seed & (2**63 - 1)
        if not self._is.incremental:
            body["sampling_params"]["stream_interval"] = INTERVAL
        if self._is.priority:
            body["priority"] = self._is.priority * params.priority
        patience = self._server.patience()
        while True:
            try:
                async with aclosing(self._attempt(list(ids), params, body, begun)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except Refused as error:
                if not error.overflow:
                    raise
                yield Chunk("", (), finish="length", usage=usage)
                return
            except Busy as busy:
                await patience.wait(busy)

    async def _attempt(
        self, ids: list[int], params: SamplingParams, body: dict[str, Any], begun: Sequence[int]
    ) -> AsyncGenerator[Chunk, None]:
        """One request. Raises Busy if the server did not begin to answer."""
        rid = uuid4().hex
        text, sampled, done = Detokenizer(self.decode), list(begun), False
        stops, before = StopWatch(params.stop, self.decode), text.push(begun)
        stops.push(before, sampled)
        shown = len(before)
        self._running.add(rid)
        try:
            async with aclosing(self._server.events("/generate", {**body, "rid": rid})) as events:
                async for data in events:
                    for event in read(data, self._is.incremental):
                        meta, reason = event.meta_info, event.meta_info.finish_reason
                        if event.failure:
                            done = True
                            raise self._failed(event.failure, len(sampled) - len(begun))
                        seen = 0 if self._is.incremental else len(sampled) - len(begun)
                        new = event.output_ids[seen:]
                        sampled += new
                        done = reason is not None
                        finish, stopped_at = finish_of(reason, params)
                        logprobs = values(meta.output_token_logprobs, seen, len(new), self.url)
                        piece = text.push(new, done)
                        if found := stops.push(piece, sampled):
                            # The server looks at as many tokens as its tokenizer would write the
                            # string in; a model may take more, and it would go on behind it.
                            place, stopped_at = found
                            finish, kept = "stop", place - (len(sampled) - len(new))
                            piece = self.decode(sampled[:place])[shown:]
                            new, logprobs = new[:kept], logprobs[:kept]
                        shown += len(piece)
                        usage = Usage(len(ids), meta.cached_tokens) if finish else None
                        yield Chunk(
                            piece, tuple(new), logprobs, finish, stopped_at, usage, event.version
                        )
                        if finish:
                            return
            raise BackendError(f"{self.url} ended an answer without a reason")
        except msgspec.MsgspecError as error:
            raise BackendError(f"{self.url} sent what SGLang does not send: {error}") from None
        finally:
            self._running.discard(rid)
            if not done:
                self._abort(rid)

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Log-probabilities of `ids[start:]`; see `Backend.score`. Raises BackendError."""
        self._is.info.check(ids)
        if not 0 < start <= len(ids):
            raise BackendError(f"start is {start}; expected 0 < start <= {len(ids)}, the ids given")
        if len(ids) > self._is.info.context:
            raise BackendError(
                f"{len(ids)} ids to score, but the context of {self._is.info.model} is "
                f"{self._is.info.context}"
            )
        return await self._score(ids, start)

    async def _score(
        self, ids: Sequence[int], start: int, custom: Mapping[str, Any] | None = None
    ) -> list[float]:
        if start == len(ids):
            return []
        body: dict[str, Any] = {
            "input_ids": list(ids),
            "return_logprob": True,
            # The first of the positions asked for has no logprob.
            "logprob_start_len": start - 1,
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        }
        if custom is not None:
            body["sampling_params"]["custom_params"] = dict(custom)
        answer = await self._server.post("/generate", body)
        try:
            found = msgspec.convert(answer, Event).meta_info.input_token_logprobs
        except msgspec.MsgspecError as error:
            raise BackendError(f"{self.url} sent what SGLang does not send: {error}") from None
        return list(values(found, 1, len(ids) - start, self.url))

    async def update_weights(self, path: str, version: int) -> None:
        """Load the weights of a checkpoint folder that the server can read; the cache is dropped.

        Chunks carry `version` from then on. Where the folder lies here, too, it is looked at first:
        a tensor of another shape would end the server, one that is missing would keep its old
        value. Raises BackendError, and the old weights stay.
        """
        served = await asyncio.to_thread(self._server.ask, "/model_info")
        wrong = replacement(path, served["model_path"])
        if wrong:
            raise BackendError(f"{self.url} was not asked to load {path}: {wrong}")
        body = {"model_path": path, "weight_version": str(version), "flush_cache": True}
        await self._server.post("/update_weights_from_disk", body)

    async def pause(self) -> None:
        """Stop decoding; running requests wait, and their cache is freed: weights may change."""
        await self._server.post("/pause_generation", {"mode": "retract"})

    async def resume(self) -> None:
        """Go on decoding."""
        await self._server.post("/continue_generation", {})

    async def close(self) -> None:
        """Close the connections. Requests still running are aborted."""
        for rid in list(self._running):
            self._abort(rid)
        if self._aborts:
            await asyncio.wait(self._aborts, timeout=5)
        await self._server.close()

    def _abort(self, rid: str) -> None:
        """Have the server drop a request now: a lost connection it notices by and by only."""
        task = asyncio.ensure_future(self._server.tell("/abort_request", {"rid": rid}))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    def _failed(self, failure: Reason | Error, sampled: int) -> Exception:
        """Busy if nothing was sampled and the server asks to come again."""
        said = f"{failure.message or 'no reason given'}"
        if lost := wire.lost(said):
            return Missing(lost)
        if failure.status_code in BUSY and not sampled:
            return Busy(f"answered {failure.status_code}: {said}")
        return BackendError(f"{self.url} gave up a request: {said}")
