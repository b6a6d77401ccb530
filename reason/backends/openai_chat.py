"""A chat API without token ids, `/v1/chat/completions`: for methods that continue no thread."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from reason.backends.base import Chunk, Info, Usage
from reason.backends.detokenize import StopStrings
from reason.backends.http import Busy, Refused, Server
from reason.backends.key import authorization
from reason.backends.openai_chat_wire import Choice, Fields, Said, decode_event
from reason.backends.openai_handshake import served
from reason.backends.openai_wire import Counts
from reason.backends.pieces import Pieces
from reason.errors import BackendError, Unsupported
from reason.types import Finish, Message, Prompt, SamplingParams, spoken

CONTEXT = 1 << 20
"""Tokens taken to fit where the server does not tell: it refuses what does not."""
ENDS: dict[str | None, Finish] = {"stop": "eos", "length": "length"}


class ChatBackend:
    """A `Backend` whose threads are a chat and one answer to it.

    Ids stand for text: words of a prompt, pieces of an answer as they come. An answer has as many
    as the server counts tokens in it, so that the account is right: those of which it does not say
    the text - merged into others, or thought in silence - have none, and come last.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "",
        context: int = 0,
        key_env: str = "",
        timeout: float = 300.0,
        patience: float = 60.0,
    ) -> None:
        """Ask the server at `url`, which ends in /v1, for a word; options as of `OpenAIBackend`.

        Raises BackendError if it does not answer, UsageError if it does not serve that model.
        """
        headers = authorization(key_env, "OPENAI_API_KEY")
        self._server = Server(url, timeout=timeout, patience=patience, headers=headers)
        card = served(self._server, model)
        fits = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx") or CONTEXT
        self.info = Info(
            model=str(card["id"]),
            tokenizer="text",
            context=context or int(fits),
            vocabulary=2**31,
            reproducible="never",
            token_ids=False,
            scores=False,
        )
        self.running = 0
        """Requests of this client that have not ended."""
        self._pieces = Pieces()
        self._silent = self._pieces.id("")
        self._chats: dict[tuple[int, ...], list[Message]] = {}
        self._fields = Fields()
        self._greet()

    @property
    def url(self) -> str:
        return self._server.url

    def encode(self, prompt: Prompt) -> list[int]:
        """Ids of the words of a chat. Raises Unsupported for what is none, or is answered."""
        said = spoken(prompt)
        if isinstance(said, str) or not said or said[-1]["role"] == "assistant":
            raise self._unsupported("cannot go on from a text, only answer a chat")
        ids = self._pieces.encode(said)
        self._chats[tuple(ids)] = list(said)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Prompts with the roles written out, answers as they came."""
        return self._pieces.decode(ids)

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """Answer a chat; see `Backend.generate`. Raises BackendError.

        A request that the server did not begin to answer is sent again; one that broke off is not.
        """
        messages = self._chats.get(tuple(ids))
        if messages is None:
            raise self._unsupported("cannot go on from its answer")
        if params.stop_token_ids:
            raise self._unsupported("knows no stop_token_ids")
        if params.max_tokens <= 0:
            yield Chunk("", (), finish="length", usage=Usage(len(ids)))
            return
        patience = self._server.patience()
        while True:
            body = self._fields.body(self.info.model, messages, params, stream=True)
            try:
                async with aclosing(self._attempt(len(ids), params, body)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except Busy as busy:
                await patience.wait(busy)
            except Refused as error:
                self._fields.learn(body, error)

    async def _attempt(
        self, sent: int, params: SamplingParams, body: dict[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        """One request. Raises Busy or Refused if the server did not begin to answer."""
        # A server would leave a stop string out of the answer, and not say which it was.
        strings = StopStrings(params.stop, self.decode) if params.stop else None
        said, count, counts = Said(), 0, Counts()
        finish: Finish | None = None
        stopped_at: str | None = None
        self.running += 1
        try:
            async with aclosing(self._server.events("/chat/completions", body)) as events:
                async for data in events:
                    new: list[int] = []
                    for event in map(decode_event, data):
                        if event.failure is not None:
                            raise BackendError(f"{self.url} gave up a request: {event.failure}")
                        choice = event.choices[0] if event.choices else Choice()
                        counts = event.usage or counts
                        finish = finish or ENDS.get(choice.finish_reason)
                        text = said.push(choice.delta)
                        if text:
                            new.append(self._pieces.id(text))
                            stopped_at = strings.push(new[-1]) if strings else None
                        if stopped_at:
                            finish = "stop"
                            break
                    count += len(new)
                    if new:
                        yield Chunk(self.decode(new), tuple(new))
                    if stopped_at:
                        break
        except msgspec.MsgspecError as error:
            raise BackendError(f"{self.url} sent what no chat completion is: {error}") from None
        finally:
            self.running -= 1
        if finish is None:
            raise BackendError(f"{self.url} ended an answer without a reason")
        silent = (self._silent,) * max(counts.completion_tokens - count, 0)
        usage = Usage(counts.prompt_tokens or sent, counts.cached)
        yield Chunk("", silent, finish=finish, stopped_at=stopped_at, usage=usage)

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Raises Unsupported."""
        raise self._unsupported("does not score a text that it is given")

    async def close(self) -> None:
        """Close the connections. Requests still running are aborted by that."""
        await self._server.close()

    def _greet(self) -> None:
        """Have a chat, for the server's refusals to come at once. Raises BackendError."""
        hello, few = [Message(role="user", content="Hi")], SamplingParams(max_tokens=16)
        while True:
            body = self._fields.body(self.info.model, hello, few, stream=False)
            try:
                self._server.ask("/chat/completions", body)
                return
            except Refused as error:
                self._fields.learn(body, error)

    def _unsupported(self, what: str) -> Unsupported:
        return Unsupported(
            f"{self.url} is a chat without token ids: it {what}; hf, SGLang and vLLM with token "
            "ids do"
        )
