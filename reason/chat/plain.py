"""The chat as plain lines: for pipes, scripts and screen readers."""

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from reason.account import Ending
from reason.chat.commands import Commands, Done
from reason.chat.comparison import compared
from reason.chat.hint import carried_on
from reason.chat.maths import readable
from reason.chat.reply import sentence, silence
from reason.chat.run import Run, figures_in_words
from reason.chat.session import Exchange
from reason.chat.texts import shown
from reason.chat.timeline import Decision
from reason.errors import ReasonError, UsageError
from reason.watch import clean

MISTAKE, FAILED = 2, 1
PAUSE = 0.2
"""Seconds between two looks at what threads have done."""


def answer_lines(exchange: Exchange) -> list[str]:
    """What a turn ended with, in plain words."""
    several = len(exchange.runs) > 1
    lines = []
    for run in exchange.runs:
        assert run.ending
        who = f"{clean(run.method)}: " if several else ""
        lines += [who + line for line in _ended(run, run.ending)]
    return lines + (compared(exchange.runs) if several else [])


def _ended(run: Run, ending: Ending) -> Iterable[str]:
    if run.reply is None:
        yield f"no answer: {silence(ending)}"
    else:
        yield from readable(shown(run.reply)).splitlines()
    if ending.verified is not None and ending.answer is not None:
        yield "verified" if ending.verified else f"wrong: {clean(ending.fault or '')}"
    if run.reply is not None and ending.limit:
        yield f"reached budget.{ending.limit} on the way"
    for warning in run.figures.get("warnings", ()):
        yield f"warning: {clean(str(warning))}"
    if run.problem:
        yield f"warning: {clean(run.problem)}"
    if run.figures:
        yield figures_in_words(run.figures)


@dataclass
class Plain:
    """Reads questions and commands line by line and prints what comes of them.

    Where the output is a terminal, what threads do is told while it happens, and commands are heard
    meanwhile; otherwise one line waits for the one before.
    """

    commands: Commands
    out: TextIO
    err: TextIO
    live: bool = False
    code: int = 0

    async def read(self, file: TextIO, first: str = "") -> int:
        """The first line, if there is one, and all lines of the file; the exit code: 2 where one
        was a mistake, else 1 where a turn found no answer."""
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        lines.put_nowait(first)

        def follow() -> None:
            for line in file:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

        threading.Thread(target=follow, daemon=True).start()
        telling: asyncio.Task[None] | None = None
        while (line := await lines.get()) is not None:
            line = line.strip()
            if line in ("/quit", "/exit"):
                break
            done = await self._do(line) if line else Done()
            if done.exchange:
                telling = asyncio.create_task(self._tell(done.exchange))
            elif done.branch:
                telling = asyncio.create_task(self._tell_branch(*done.branch))
            if telling and not self.live:
                await telling
        if telling:
            await telling
        return self.code

    def say(self, text: str) -> None:
        """One or several lines."""
        for line in text.splitlines():
            print(shown(line), file=self.out, flush=True)

    async def _do(self, line: str) -> Done:
        try:
            if not line.startswith("/"):
                return Done(exchange=self.commands.session.ask(line))
            done: Done = await self.commands.do(line)
        except ReasonError as error:
            self._complain(str(error), MISTAKE if isinstance(error, UsageError) else FAILED)
            return Done()
        self.say(done.said)
        return done

    async def _tell_branch(self, run: Run, thread: str) -> None:
        self.say(await carried_on(run, thread))

    async def _tell(self, exchange: Exchange) -> None:
        stories = [
            Story(run, f"{run.method}: " * (len(exchange.runs) > 1)) for run in exchange.runs
        ]
        while self.live and exchange.running:
            for story in stories:
                self.say("\n".join(story.news()))
            await asyncio.wait([asyncio.create_task(asyncio.sleep(PAUSE))])
        for run, story in zip(exchange.runs, stories, strict=True):
            await run.over()
            self.say("\n".join(story.news()) if self.live else "")
            if run.error:
                self._complain(str(run.error), MISTAKE)
        if not any(run.error for run in exchange.runs):
            self.say("\n".join(answer_lines(exchange)))
            if exchange.reply is None:
                self.code = max(self.code, FAILED)

    def _complain(self, message: str, code: int) -> None:
        print("reason:", " ".join(clean(message).split()), file=self.err, flush=True)
        self.code = max(self.code, code)


class Story:
    """What the threads of a run did since it was asked last, in a line each."""

    def __init__(self, run: Run, who: str) -> None:
        self._run, self._who = run, who
        self._states: dict[str, str] = {}
        self._decisions: dict[str, int] = {}

    def news(self) -> list[str]:
        run, found = self._run, list[str]()
        for name, line in run.watch.lines.items():
            state = run.timeline.state(line)
            before = self._states.get(name)
            if before is None:
                found.append(f"thread {name} opened: {line.label}" if line.label else
                             f"thread {name} opened")  # fmt: skip
            decided = [e for e in run.timeline.spans[name].entries if isinstance(e, Decision)]
            for entry in decided[self._decisions.get(name, 0) :]:
                found.append(f"thread {name} {entry.name}: {entry.value}")
            self._decisions[name] = len(decided)
            if state not in (before, "writing", "waiting"):
                why = f": {sentence(line.detail)}" if line.detail else ""
                found.append(f"thread {name} {state}, {line.tokens:,} tokens{why}")
            self._states[name] = state
        return [self._who + line for line in found]
