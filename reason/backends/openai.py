"""A running server of OpenAI's `/v1/completions` that takes token ids and tells them: vLLM,
llama.cpp, SGLang."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from reason.backends.base import Chunk, Info, Usage
from reason.backends.http import Busy, Refused, Server
from reason.backends.key import authorization
from reason.backends.openai_handshake import greet
from reason.backends.openai_stream import Stream
from reason.backends.openai_wire import Event, decode_event, finite, sampling
from reason.errors import BackendError, Unsupported
from reason.types import Prompt, SamplingParams


class OpenAIBackend:
    """A `Backend` over HTTP."""

    def __init__(
        self,
        url: str,
        *,
        model: str = "",
        tokenizer: str = "",
        context: int = 0,
        key_env: str = "",
        timeout: float = 300.0,
        patience: float = 60.0,
    ) -> None:
        """Greet the server at `url`, which ends in /v1, and load the tokenizer of its model.

        `model` is needed where several are served. `tokenizer` is a folder or a name on the hub,
        by default what the server calls its model, `context` the tokens that fit, where the server
        does not tell. The key is read from the environment variable `key_env`, by default
        OPENAI_API_KEY. `timeout` and `patience` are those of `SGLangBackend`. Raises BackendError
        if the server cannot be reached, UsageError if it does not serve what is needed here.
        """
        headers = authorization(key_env, "OPENAI_API_KEY")
        self._server = Server(url, timeout=timeout, patience=patience, headers=headers)
        self._is = greet(self._server, headers, model, tokenizer, context)
        self.running = 0
        """Requests of this client that have not ended."""

    @property
    def info(self) -> Info:
        return self._is.info

    @property
    def url(self) -> str:
        return self._server.url

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; see `Tokenizer.encode`."""
        return self._is.tokenizer.encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some ids, special tokens included."""
        return self._is.tokenizer.decode(ids)

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """Sample a continuation; see `Backend.generate`. Raises BackendError.

        A request that the server did not begin to answer is sent again; one that broke off is not.
        """
        self._is.info.check(ids)
        room = min(params.max_tokens, self._is.info.context - len(ids))
        if room <= 0:
            yield Chunk("", (), finish="length", usage=Usage(len(ids)))
            return
        body = {
            **self._asked(ids),
            **sampling(params, room, self._is.dialect),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        patience = self._server.patience()
        while True:
            try:
                async with aclosing(self._attempt(len(ids), params, body)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except Refused as error:
                if not error.overflow:
                    raise
                yield Chunk("", (), finish="length", usage=Usage(len(ids)))
                return
            except Busy as busy:
                await patience.wait(busy)

    async def _attempt(
        self, sent: int, params: SamplingParams, body: dict[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        """One request. Raises Busy if the server did not begin to answer."""
        stream = Stream(self.url, self._is.dialect, params, self.decode, sent)
        self.running += 1
        try:
            async with aclosing(self._server.events("/completions", body)) as events:
                async for data in events:
                    chunk = stream.push([decode_event(each) for each in data])
                    if chunk:
                        yield chunk
                    if stream.over:
                        break
            yield stream.last()
        except msgspec.MsgspecError as error:
            raise BackendError(f"{self.url} sent what no completion is: {error}") from None
        finally:
            self.running -= 1

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Log-probabilities of `ids[start:]`; see `Backend.score`. Raises BackendError."""
        info = self._is.info
        info.check(ids)
        if not info.scores:
            raise Unsupported(
                f"{self.url} ({self._is.dialect.name}) does not score a text that it is given; "
                "SGLang and vLLM do"
            )
        if not 0 < start <= len(ids):
            raise BackendError(f"start is {start}; expected 0 < start <= {len(ids)}, the ids given")
        if len(ids) >= info.context:
            raise BackendError(
                f"{len(ids)} ids to score, but {info.model} over this interface scores at most "
                f"{info.context - 1}"
            )
        if start == len(ids):
            return []
        answer = await self._server.post("/completions", {**self._asked(ids), **self._is.scoring})
        try:
            choice = msgspec.convert(answer, Event).choices[0]
        except (msgspec.MsgspecError, IndexError) as error:
            raise BackendError(f"{self.url} sent what no completion is: {error}") from None
        return list(finite(choice.values[start : len(ids)], len(ids) - start, self.url))

    async def close(self) -> None:
        """Close the connections. Requests still running are aborted by that."""
        await self._server.close()

    def _asked(self, ids: Sequence[int]) -> dict[str, Any]:
        return {"model": self._is.info.model, "prompt": list(ids)}
