"""One run of a chat: its events as they are watched, its steering, its outcome."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reason.account import Ending
from reason.chat.hosts import Job, Outcome, cut_short
from reason.chat.reply import reply_of
from reason.chat.texts import Texts
from reason.chat.timeline import Timeline
from reason.condenser import Condenser
from reason.config import build
from reason.errors import ReasonError, UsageError
from reason.events import Event
from reason.ledger import Budget
from reason.record import Recorder
from reason.steer import Steer
from reason.watch import Watch

GRACE = 3.0
"""Seconds that a run has to end by itself once it was told to stop."""
STOPPED = "it was stopped"


class Run:
    """A run that goes on, or is over. Begun where it is made; recorded to `path` as it goes.

    `problem` is what a disk that refuses said, and what a branch that failed did.
    """

    def __init__(self, job: Job, path: Path | None = None) -> None:
        self.job, self.path = job, path
        self.title, self.method, self.model = job.title, job.method, job.model
        self.steer: Steer = job.steer
        self.watch, self.texts = Watch(), Texts()
        self.timeline = Timeline(self.watch)
        self.ending: Ending | None = None
        self.figures: dict[str, Any] = {}
        self.problem: str | None = None
        self.error: UsageError | None = None
        """The mistake in the request, of a run that could not be."""
        self.budget = job.budget
        self._failed = False
        self._log = Condenser()
        self._began, self._ended = time.monotonic(), 0.0
        self._idle = 0.0
        """Seconds between its end and what was branched off later."""
        self._heard = asyncio.Event()
        self._recorder = Recorder(path, self.header) if path else None
        self._branching: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._go())

    @property
    def header(self) -> dict[str, Any]:
        """What its recording begins with."""
        told = {"method": self.method, "title": self.title, "model": self.model}
        return {**told, **self.job.header}

    def __call__(self, event: Event) -> None:
        self.watch(event)
        self.texts(event)
        self.timeline(event)
        self._log(event)
        if self._recorder:
            self._recorder(event)
        self._heard.set()

    @property
    def running(self) -> bool:
        """Whether anything of it goes on, branches of a run that has ended included."""
        return not self._task.done() or bool(self._branching and not self._branching.done())

    @property
    def now(self) -> float:
        """The time on the clock of its events, in seconds since it began."""
        return time.monotonic() - self._began

    @property
    def seconds(self) -> float:
        """In which it went on, its branches included."""
        return (self.now if self.running else self._ended) - self._idle

    @property
    def reply(self) -> str | None:
        """What it says in the conversation; None where it found no answer."""
        return reply_of(self.ending, self.texts, self.job.grammar) if self.ending else None

    @property
    def events(self) -> list[Event]:
        """All of it, in short, with how it ended."""
        ending = [self.ending.note()] if self.ending else []
        return [*self._log.events, *ending]

    async def over(self) -> "Run":
        """Wait for the end, whatever it is. A bug goes on up."""
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()
        return self

    async def idle(self) -> None:
        """Wait for the end, that of branches made later included."""
        await self.over()
        if self._branching:
            await asyncio.wait([self._branching])

    async def until(self, true: Callable[[Watch], bool]) -> None:
        """Wait until that holds of its threads, or it is over."""
        while not true(self.watch) and not self._task.done():
            self._heard.clear()
            hearing = asyncio.create_task(self._heard.wait())
            await asyncio.wait([hearing, self._task], return_when=asyncio.FIRST_COMPLETED)
            hearing.cancel()

    async def stop(self) -> None:
        """End it, with its branches, and wait until nothing of it is left."""
        if self._branching and not self._branching.done():
            self._branching.cancel()
            await asyncio.wait([self._branching])
        if self._task.done():
            return
        try:
            await self.steer.stop()
        except ReasonError:  # not begun, or a server that does not answer: it is cut off
            self._task.cancel()
        _, late = await asyncio.wait([self._task], timeout=GRACE)
        for task in late:
            task.cancel()
            await asyncio.wait([task])

    def allow(self, what: str) -> None:
        """Raise UsageError for what it is too late for: fork, pin, budget, kill."""
        if self.job.recorded:
            raise UsageError("this run is a recording: it can be looked at, not changed")
        if self.ending and what in ("pin", "budget"):
            raise UsageError(
                "the turn has ended: its answer and its budget stay as they are; its threads can "
                "be forked"
            )
        if self.ending and what == "fork" and not self.job.more:
            raise UsageError("the turn has ended, and its server keeps none that is over")

    async def extend(self, limits: Mapping[str, Any]) -> None:
        """See `Steer.extend`."""
        self.allow("budget")
        await self.steer.extend(limits)
        self.budget = build(Budget, limits, self.budget, "budget.")

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        """See `Steer.branch`; of a run that has ended, too, which is recorded once more."""
        made = await self.steer.branch(thread, hint, kept)
        if self._task.done() and self.job.more and not self._branching:
            self._idle += self.now - self._ended
            self._branching = asyncio.create_task(self._branches(self.job.more()))
        return made

    async def _go(self) -> None:
        outcome = Outcome(Ending(error=STOPPED), {})
        try:
            outcome = await self.job.work(self)
        except UsageError as error:
            self.error = error
            outcome = Outcome(Ending(error=str(error)), {})
        except ReasonError as error:
            self._failed = True
            outcome = Outcome(Ending(error=f"{type(error).__name__}: {error}"), {})
        except asyncio.CancelledError:
            pass  # nobody but `stop` and the end of the program cancels it
        finally:
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._ended = self.now
        self.ending, self.figures = outcome.ending, dict(outcome.figures)
        root = self.watch.lines.get("0")
        stopped = root and root.finish == "cancelled" and not self._failed
        if self.ending.answer is None and stopped:
            self.ending = replace(self.ending, error=STOPPED)
        if self.ending.found is not None:
            self.watch.win(self.ending.thread, self.ending.found)
        if cut_short(self.ending) or not outcome.figures:
            self.watch.cut()
        self._closed(self.ending)

    def _closed(self, ending: Ending) -> None:
        if self._recorder:
            self._recorder(ending.note())
            self._recorder.close()
            self.problem = self._recorder.error
        self._recorder = None
        self._heard.set()

    async def _branches(self, over: Awaitable[None]) -> None:
        """Branches of a run that has ended: they go into its account, and on record with all of it
        in a file of their own, so that the first one is whole at every moment."""
        assert self.ending
        if self.path:
            self.path = _next(self.path)
            self._recorder = Recorder(self.path, self.header)
            for event in self._log.events:
                self._recorder(event)
        try:
            await over
        except ReasonError as error:
            self.problem = str(error)
        finally:
            self._ended = self.now
            if self.job.account:
                self.figures = {**self.job.account(), "seconds": self._ended - self._idle}
            self._closed(self.ending)
            self._branching = None


def _next(path: Path) -> Path:
    """turn-1.jsonl, turn-1-2.jsonl, turn-1-3.jsonl, …"""
    number = 2
    while (found := path.with_name(f"{path.stem}-{number}.jsonl")).exists():
        number += 1
    return found


def figures_in_words(figures: Mapping[str, Any]) -> str:
    """The account of a run in one line; nothing for one that has none."""
    if not figures:
        return ""
    rate = figures["total_tokens"] / figures["seconds"] if figures["seconds"] > 0 else 0
    threads = figures["threads"]
    return " · ".join(
        (
            f"{figures['critical_path']:,} tokens on the critical path",
            f"{figures['total_tokens']:,} in all",
            f"{figures['seconds']:.2f} s",
            f"{rate:,.0f} tokens/s",
            f"{threads:,} thread{'' if threads == 1 else 's'}",
        )
    )
