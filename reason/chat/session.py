"""A conversation: what was said, the runs that answered it, and the settings of the next ones.

Usable without a terminal: see docs/chat.md for an example.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from reason.chat.hosts import Host, Job, played, playing
from reason.chat.run import Run
from reason.errors import UsageError
from reason.events import Event
from reason.keys import Ask
from reason.types import Message


@dataclass
class Exchange:
    """What was said, and the runs that answer it; several are a comparison."""

    said: str
    runs: list[Run]
    beside: bool = False
    """Not part of the conversation that later turns go on with."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the first run."""

    @property
    def running(self) -> bool:
        """Whether any of its runs goes on."""
        return any(run.running for run in self.runs)

    @property
    def reply(self) -> str | None:
        """What the first run that found something says."""
        return next((run.reply for run in self.runs if run.reply), None)


class Session:
    """Turns on a host, one after the other. Every run is recorded in `folder` as it goes, nothing
    is without one. Turn n is sampled with the seed `seed + n`.

    To be used as `async with`, which stops what still goes on and closes the host.
    """

    def __init__(
        self,
        host: Host | None,
        settings: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.host, self.settings = host, dict(settings or {})
        self.seed, self.folder = seed, folder
        self.exchanges: list[Exchange] = []
        self._files = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def running(self) -> list[Run]:
        """The runs that go on."""
        return [run for exchange in self.exchanges for run in exchange.runs if run.running]

    @property
    def latest(self) -> Run | None:
        """The run begun last, the first of a comparison."""
        return self.exchanges[-1].runs[0] if self.exchanges else None

    def whole(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """With the method that is usual for the host, where they name none."""
        usual = self.host.usual if self.host else {"controller": Ask.controller}
        return dict(settings) if "controller" in settings else {**usual, **settings}

    def messages(self) -> list[Message]:
        """What was said and answered so far; what was not answered is left out."""
        found: list[Message] = []
        for exchange in self.exchanges:
            if exchange.reply and not exchange.beside:
                found.append(Message(role="user", content=exchange.said))
                found.append(Message(role="assistant", content=exchange.reply))
        return found

    def ask(self, said: str) -> Exchange:
        """Begin a turn. Raises UsageError, before anything is paid for, for what cannot be asked,
        and while another turn goes on."""
        return self._begin(said, [self.settings], self.messages())

    def compare(self, settings: Sequence[Mapping[str, Any]], said: str | None = None) -> Exchange:
        """Begin the same turn with each of these settings, at the same time; without words, the
        last question is asked again, beside the conversation. Raises UsageError as `ask` does."""
        if said is not None:
            return self._begin(said, settings, self.messages())
        asked = [each for each in self.exchanges if each.spec]
        if not asked:
            raise UsageError(
                "nothing was asked yet that could be asked again: /compare A B QUESTION"
            )
        again = asked[-1]
        before = self.messages()
        if again.reply and not again.beside:
            before = before[:-2]
        return self._begin(again.said, settings, before, beside=True)

    def replay(self, path: Path, speed: float = 1.0) -> Exchange:
        """Play a recorded run back. Raises UsageError for a file that is none."""
        self._idle()
        job = playing(path, speed)
        return self._add(Exchange(job.title or path.name, [Run(job)], beside=True))

    async def stop(self) -> None:
        """End all that goes on, and wait until nothing of it is left."""
        await asyncio.gather(*(run.stop() for run in self.running))

    async def switch(self, host: Host) -> None:
        """Go on with another host; the old one is closed. Raises UsageError while a turn goes on,
        and closes the new one."""
        try:
            self._idle()
        except UsageError:
            await host.close()
            raise
        old, self.host = self.host, host
        if old:
            await old.close()

    async def close(self) -> None:
        """Stop what goes on and let go of the models."""
        await self.stop()
        host, self.host = self.host, None
        if host:
            await host.close()

    async def restore(self, parts: Sequence["Part"], settings: Mapping[str, Any]) -> None:
        """Take the place of the conversation with one that was kept."""
        self._idle()
        exchanges = []
        for part in parts:
            runs = [Run(played(header, events, 0)) for header, events in part.runs]
            exchanges.append(Exchange(part.said, runs, part.beside, part.spec))
        await asyncio.gather(*(run.over() for each in exchanges for run in each.runs))
        failed = [run.error for each in exchanges for run in each.runs if run.error]
        if failed:
            raise failed[0]
        self.exchanges, self.settings = exchanges, dict(settings)

    def _begin(
        self,
        said: str,
        settings: Sequence[Mapping[str, Any]],
        before: list[Message],
        beside: bool = False,
    ) -> Exchange:
        self._idle()
        if self.host is None:
            raise UsageError("no model is connected: /model SPEC connects one")
        if not said.strip():
            raise UsageError("nothing was asked")
        messages = [*before, Message(role="user", content=said)]
        seed = self.seed + sum(bool(each.spec) for each in self.exchanges)
        settings = [self.whole(each) for each in settings]
        jobs = [self.host.job(messages, each, seed) for each in settings]
        runs = [Run(job, self._file(job)) for job in jobs]
        return self._add(Exchange(said, runs, beside, settings[0]))

    def _file(self, job: Job) -> Path | None:
        self._files += 1
        return self.folder and self.folder / f"turn-{self._files}.jsonl"

    def _add(self, exchange: Exchange) -> Exchange:
        self.exchanges.append(exchange)
        return exchange

    def _idle(self) -> None:
        if self.running:
            raise UsageError("a turn goes on: wait for its end, or stop it first (Esc, /stop)")


@dataclass(frozen=True)
class Part:
    """An exchange as it is kept: every run with the header and the events of a recording."""

    said: str
    runs: list[tuple[Mapping[str, Any], list[Event]]]
    beside: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
