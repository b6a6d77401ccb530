"""Turns that run on `reason serve`: its events are folded here as if the run were here."""

import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from reason.account import Ending
from reason.backends.connect import Say
from reason.backends.http import Busy, Refused, Server
from reason.chat.hosts import Job, Outcome, usual_of
from reason.config import build
from reason.errors import BackendError, UsageError
from reason.events import Event
from reason.journal import Sink
from reason.keys import Ask
from reason.ledger import Budget
from reason.types import Message

SCHEME = "reason://"
KEY = "REASON_API_KEY"
"""The environment variable with the key of a server that asks for one."""
SILENCE = 600.0
"""Seconds without a word from a run after which it is given up."""


class RemoteHost:
    """A server that runs the turns. Asked once what it is, in place: in a thread of its own where
    something else goes on. Raises UsageError for an address that is none, BackendError for a server
    that does not answer."""

    def __init__(self, spec: str, say: Say = lambda line: None) -> None:
        place = spec.removeprefix(SCHEME).rstrip("/")
        host, colon, port = place.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise UsageError(f"a server is written {SCHEME}HOST:PORT, got {spec!r}")
        say(f"connecting to {place}")
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else None
        self._server = Server(f"http://{place}", timeout=SILENCE, patience=0, headers=headers)
        try:
            listed = self._server.ask("/v1/models")
        except Refused as error:
            if error.status != 401:
                raise
            raise UsageError(f"{place} asks for a key: put yours into {KEY}") from None
        try:
            self.methods = tuple(str(each["id"]) for each in listed["data"])
            self.grammar = str(listed["data"][0]["reason"]["grammar"])
        except (TypeError, KeyError, IndexError):
            raise BackendError(f"{place} is no `reason serve`: it lists no models") from None
        self.model, self.usual = place, usual_of(self.grammar)
        self.notes: tuple[str, ...] = ()

    def job(self, messages: Sequence[Message], settings: Mapping[str, Any], seed: int) -> Job:
        told = {"controller": Ask.controller, **settings}
        method = str(told["controller"])
        body = {
            "model": method,
            "messages": list(messages),
            "stream": True,
            "seed": seed,
            "reason": {**told, "events": True},
        }
        steer = RemoteSteer(self._server)

        async def work(sink: Sink) -> Outcome:
            async with aclosing(_chunks(self._server, body)) as chunks:
                async for chunk in chunks:
                    steer.run = steer.run or chunk.get("id")
                    said = chunk.get("reason") or {}
                    for event in said.get("events", ()):
                        sink(_read(event, Event))
                    if "ending" in said:
                        ending = _read(said["ending"], Ending)
                        return Outcome(ending, dict(said.get("account") or {}))
            raise BackendError(f"{self._server.url} ended the answer without saying how it ended")

        header = {"controller": told, "seed": seed}
        budget = build(Budget, told.get("budget", {}), at="budget.")
        title = messages[-1]["content"]
        return Job(
            title, method, self.model, header, steer, work, grammar=self.grammar, budget=budget
        )

    async def close(self) -> None:
        await self._server.close()


class RemoteSteer:
    """Of a run on a server, once it has said which run it is."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.run: str | None = None

    async def cancel(self, thread: str) -> None:
        await self._do("cancel", thread=thread)

    async def stop(self) -> None:
        await self._do("stop")

    async def extend(self, limits: Mapping[str, Any]) -> None:
        read = build(Budget, limits, at="budget.")
        await self._do("extend", budget={name: getattr(read, name) for name in limits})

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        told = {} if kept is None else {"kept": kept}
        return str((await self._do("branch", thread=thread, hint=hint, **told)).get("thread", ""))

    async def pin(self, thread: str, answer: str | None = None) -> str:
        told = {} if answer is None else {"answer": answer}
        return str((await self._do("pin", thread=thread, **told)).get("answer", answer or ""))

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        return None

    async def _do(self, what: str, **told: Any) -> dict[str, Any]:
        if self.run is None:
            raise UsageError("the run has not begun: the server has not said a word")
        answer = await self._server.post(f"/v1/reason/runs/{self.run}", {"do": what, **told})
        return answer if isinstance(answer, dict) else {}


async def _chunks(server: Server, body: object) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of an answer. Raises BackendError for the error that one of them is."""
    patience = server.patience()
    while True:
        try:
            async with aclosing(server.events("/v1/chat/completions", body)) as answers:
                async for several in answers:
                    for data in several:
                        yield _chunk(server, data)
            return
        except Busy as busy:
            await patience.wait(busy)


def _chunk(server: Server, data: bytes) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        raise BackendError(f"{server.url} sent what is no JSON: {data[:80]!r}") from None
    if not isinstance(chunk, dict):
        raise BackendError(f"{server.url} sent what is no chunk: {data[:80]!r}")
    if "error" in chunk:
        error = chunk["error"]
        raise BackendError(str(error.get("message", error) if isinstance(error, dict) else error))
    return chunk


def _read(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BackendError(f"the server speaks another version of events: {error}") from error
