"""An answer that is on its way, as a stream or as one object, and the client that may go away."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Send

from reason.serve.envelope import Envelope
from reason.serve.fault import unavailable
from reason.serve.job import Job
from reason.serve.outbox import WINDOW, Bell
from reason.serve.reach import down
from reason.serve.service import Service

GREETING = 0.75
"""Seconds after which a stream begins though no token has come, so that its run can be steered; a
failure before that has a status of its own."""
PROBE = 0.4
"""Seconds without a first token after which a model's server is asked whether it is there."""
GONE = 499
"""The status, which nobody gets, of a request whose client has gone away."""


@dataclass(slots=True)
class Delivery:
    """Of one request."""

    service: Service
    envelope: Envelope
    jobs: Sequence[Job]
    bell: Bell
    send: Send

    async def go(self, receive: Receive, stream: bool) -> int:
        """Run the jobs and deliver what they say; the status. Raises Fault where none was sent. If
        the client goes away, its jobs are stopped, and at the end they are in any case."""
        for job in self.jobs:
            self.service.runs[job.id] = job
            job.start()
        telling = asyncio.create_task(self._stream() if stream else self._whole())
        gone = asyncio.create_task(_gone(receive))
        probing = asyncio.create_task(self._probe())
        try:
            await asyncio.wait((telling, gone), return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                return GONE
            telling.result()
            return 200
        except OSError:  # the connection broke while something was written
            return GONE
        finally:
            for task in (telling, gone, probing):
                task.cancel()
            await asyncio.gather(
                *(job.stop() for job in self.jobs), telling, probing, return_exceptions=True
            )
            for job in self.jobs:
                self.service.runs.pop(job.id, None)

    async def _whole(self) -> None:
        while True:
            self._check()
            if all(job.over for job in self.jobs):
                break
            await self.bell.anything.wait()
            self.bell.clear()
        body = self.envelope.whole(self.jobs)
        await self._start(200, "application/json", {"content-length": str(len(body))})
        await self.send({"type": "http.response.body", "body": body})

    async def _stream(self) -> None:
        await self._beginning()
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        await self._start(200, "text/event-stream; charset=utf-8", headers)
        waiting, opened, sent = list(self.jobs), set[int](), 0.0
        while waiting:
            await self._pause(sent)
            sent = time.monotonic()
            self.bell.clear()
            chunks: list[bytes] = []
            for job in list(waiting):
                over = job.over
                chunks += self.envelope.chunks(job, job.index not in opened)
                opened.add(job.index)
                if over and job.fault:
                    await self._lines([*chunks, msgspec.json.encode(job.fault.body), b"[DONE]"])
                    return
                if over:
                    waiting.remove(job)
                    chunks += self.envelope.ending(job, len(self.jobs) == 1)
            if not waiting:
                chunks += [*self.envelope.costs(self.jobs), b"[DONE]"]
            await self._lines(chunks, more=bool(waiting))

    async def _beginning(self) -> None:
        """Wait for a first token or an end. Raises Fault for a run that comes to nothing."""
        until = time.monotonic() + GREETING
        while not any(job.first or job.over for job in self.jobs):
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self.bell.anything.wait()
            except TimeoutError:
                break
            self.bell.clear()
        self._check()
        self.bell.ring(True)

    def _check(self) -> None:
        """Raise the Fault of a run that came to nothing."""
        for job in self.jobs:
            if job.over and job.fault:
                raise job.fault

    async def _pause(self, sent: float) -> None:
        """Wait until there is something to send, and for reasoning until it is worth it."""
        await self.bell.anything.wait()
        left = sent + WINDOW - time.monotonic()
        if left > 0 and not self.bell.urgent.is_set():
            try:
                async with asyncio.timeout(left):
                    await self.bell.urgent.wait()
            except TimeoutError:
                pass

    async def _probe(self) -> None:
        """Give up a run that waits for its first token from a server that is not there."""
        while True:
            await asyncio.sleep(PROBE)
            if any(job.first or job.over for job in self.jobs):
                return
            reason = await down(self.service.models)
            if reason:
                await asyncio.gather(*(job.stop(unavailable(reason)) for job in self.jobs))
                return

    async def _start(self, status: int, kind: str, headers: dict[str, str]) -> None:
        named = {"content-type": kind, "x-reason-run": self.envelope.id, **headers}
        listed = [(name.encode(), value.encode()) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": listed})

    async def _lines(self, chunks: Iterable[bytes], more: bool = False) -> None:
        body = b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)
        await self.send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
