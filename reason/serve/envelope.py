"""An answer on its way: the chunks of a stream, or one object."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from reason.serve.job import Job
from reason.serve.reply import Reply
from reason.serve.tally import Token
from reason.serve.usage import usage_of

encode = msgspec.json.Encoder().encode


def header(job: Job, thread: str) -> str:
    """What stands before the text of a thread where that of another one came before."""
    line = "" if thread == job.shown else f"[{thread}] "
    before = "\n" if line and job.reasoned else ""
    job.shown, job.reasoned = thread, True
    return before + line


@dataclass(frozen=True)
class Envelope:
    """What all objects of an answer have in common."""

    id: str
    model: str
    reply: Reply
    usage: bool = False
    """Whether the last chunk tells what it cost."""
    events: bool = False
    logprobs: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def chunks(self, job: Job, opening: bool) -> list[bytes]:
        """All that has come since the last time; with the first of it how it begins."""
        choices = [self.reply.opening()] if opening else []
        threads: list[str | None] = [None] * len(choices)
        for delta in job.outbox.deltas():
            shown = header(job, delta.thread) if delta.kind != "content" else ""
            choices.append(self.reply.piece(delta, shown, self.logprobs))
            threads.append(delta.thread)
        events = job.outbox.events()
        if events and not choices:
            choices, threads = [self.reply.closing()], [None]
        found = []
        for number, (choice, thread) in enumerate(zip(choices, threads, strict=True)):
            own: dict[str, Any] = {"thread": thread} if thread is not None else {}
            if events and not number:
                own["events"] = events
            found.append(self._chunk([self._choice(job, choice, None)], own))
        return found

    def ending(self, job: Job, alone: bool) -> list[bytes]:
        """How a choice ends; `alone`, with what a viewer needs to know of that."""
        last = self._last(job) if self.events and not (alone and self.usage) else {}
        return [self._chunk([self._choice(job, self.reply.closing(), job.finish)], last)]

    def costs(self, jobs: Sequence[Job]) -> list[bytes]:
        """What all of it cost, where that was asked for."""
        if not self.usage:
            return []
        last = self._last(jobs[0]) if self.events else {}
        return [self._chunk([], last, usage_of(jobs))]

    def whole(self, jobs: Sequence[Job]) -> bytes:
        """The answer as one object."""
        body = self._head(self.reply.name)
        body["choices"] = [self._answer(job) for job in jobs]
        body["usage"] = usage_of(jobs)
        if self.events:
            body["reason"] = {"events": jobs[0].outbox.events(), **self._last(jobs[0])}
        return encode(body)

    def _answer(self, job: Job) -> dict[str, Any]:
        content, reasoning, tokens = "", "", list[Token]()
        for delta in job.outbox.deltas():
            if delta.kind == "content":
                content += delta.text
                tokens += delta.tokens
            else:
                reasoning += header(job, delta.thread) + delta.text
        logprobs = tokens if self.logprobs else None
        choice = self._choice(job, self.reply.whole(content, reasoning, logprobs), job.finish)
        ending = job.ending
        return {**choice, "reason": {"thread": ending.thread, "error": ending.error}}

    def _last(self, job: Job) -> dict[str, Any]:
        return {"ending": asdict(job.ending), "account": job.account}

    def _choice(self, job: Job, said: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": job.index, "logprobs": None, **said, "finish_reason": finish}

    def _chunk(self, choices: list[Any], own: dict[str, Any], usage: Any = None) -> bytes:
        body = self._head(self.reply.part)
        body["choices"] = choices
        if self.usage:
            body["usage"] = usage
        if own:
            body["reason"] = own
        return encode(body)

    def _head(self, name: str) -> dict[str, Any]:
        return {"id": self.id, "object": name, "created": self.created, "model": self.model}
