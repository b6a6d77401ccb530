"""What is typed after a slash: settings, files, comparisons, steering."""

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reason.chat import archive
from reason.chat.greeting import greeting
from reason.chat.hint import misread
from reason.chat.hosts import Host
from reason.chat.run import Run
from reason.chat.session import Exchange, Session
from reason.config import build, merge, parse_words
from reason.errors import UsageError
from reason.knobs import Knob
from reason.ledger import Budget
from reason.settings import choose


@dataclass(frozen=True)
class Methods:
    """What there is to choose from, told by who sees the methods."""

    names: tuple[str, ...]
    knobs: Callable[[str], Sequence[Knob]]
    """The keys of one. Raises UsageError for a name that no method has."""
    check: Callable[[Mapping[str, Any]], object]
    """Raises UsageError for settings that no turn could have."""


@dataclass(frozen=True)
class Done:
    """What a command has to say, and the turn that it began."""

    said: str = ""
    exchange: Exchange | None = None
    branch: tuple[Run, str] | None = None
    """The thread that was forked from an ended turn."""
    title: str = ""
    """Of a window in which it is read, where there are windows."""
    loaded: bool = False
    """Whether another conversation took the place of this one."""


@dataclass(frozen=True)
class Command:
    """How one is written, and what it does."""

    usage: str
    about: str
    do: Callable[["Commands", str], Awaitable[Done]]

    @property
    def takes(self) -> bool:
        """Whether anything stands behind its name."""
        return " " in self.usage


class Commands:
    """The commands of one chat. `connect` makes a host of a backend's name; it is called in a
    thread of its own."""

    def __init__(self, session: Session, methods: Methods, connect: Callable[[str], Host]) -> None:
        self.session, self.methods = session, methods
        self._connect = connect

    async def do(self, line: str) -> Done:
        """Carry out a line that begins with a slash. Raises UsageError, and what its work does."""
        name, _, rest = line.strip().removeprefix("/").partition(" ")
        return await choose("command", name, COMMANDS).do(self, rest.strip())

    async def method(self, rest: str) -> Done:
        session = self.session
        if not rest:
            return Done(f"{self.settled()}\nmethods: {', '.join(self.methods.names)}")
        session.settings = self._chosen(_words(rest), session.settings)
        return Done(self.settled())

    async def budget(self, rest: str) -> Done:
        session, words = self.session, _words(rest)
        if not words:
            return Done(self.settled())
        if words == ["none"]:
            session.settings = {k: v for k, v in session.settings.items() if k != "budget"}
            return Done("the next turns have no budget")
        limits = parse_words(word.removeprefix("budget.") for word in words)
        build(Budget, limits, at="budget.")
        settings = merge(session.settings, {"budget": limits})
        self.methods.check(session.whole(settings))
        session.settings = settings
        going = [run for run in session.running if not (run.ending or run.job.recorded)]
        for run in going:
            await run.extend(limits)
        return Done(self.settled() + ("; the running turn has it, too" * bool(going)))

    async def model(self, rest: str) -> Done:
        if not rest:
            host = self.session.host
            return Done(f"model: {host.model if host else 'none'}\n/model SPEC connects another")
        if self.session.running:
            raise UsageError("a turn goes on: stop it before another model is connected")
        host = await asyncio.to_thread(self._connect, "" if rest == "shipped" else rest)
        await self.session.switch(host)
        about, _ = greeting(host)
        return Done("\n".join((about, *host.notes)))

    async def save(self, rest: str) -> Done:
        path = _path(rest, "/save chat.jsonl")
        archive.save(self.session, path)
        return Done(f"saved to {path}: /load {path}")

    async def load(self, rest: str) -> Done:
        path = _path(rest, "/load chat.jsonl")
        await archive.load(self.session, path)
        turns = len(self.session.exchanges)
        return Done(f"loaded {turns} turn{'s' * (turns != 1)} from {path}", loaded=True)

    async def replay(self, rest: str) -> Done:
        words = _words(rest)
        keys = [word for word in words[1:] if re.fullmatch(r"\w+=\S*", word)]
        speed = build(Speed, parse_words(keys)).speed
        path = _path(" ".join(w for w in words if w not in keys), "/replay run.jsonl")
        return Done(exchange=self.session.replay(path, speed))

    async def compare(self, rest: str) -> Done:
        one, other, question = _sides(_words(rest))
        base = self.session.settings
        settings = [self._chosen(side, base) for side in (one, other)]
        return Done(exchange=self.session.compare(settings, question or None))

    async def stop(self, rest: str) -> Done:
        self._going("stop")
        await self.session.stop()
        return Done("stopped")

    async def kill(self, rest: str) -> Done:
        if not rest:
            raise UsageError("which thread? for example: /kill 0.1")
        await self._going("kill").steer.cancel(rest)
        return Done(f"thread {rest} was told to stop")

    async def fork(self, rest: str) -> Done:
        thread, _, hint = rest.partition(" ")
        if not thread:
            raise UsageError("which thread? for example: /fork 0.1 try the large numbers first")
        run = self._latest()
        made, late = await run.branch(thread, hint.strip()), run.ending is not None
        said = [f"thread {made} goes on from {thread}", misread(run, made, hint.strip())]
        return Done("\n".join(filter(None, said)), branch=(run, made) if late else None)

    async def pin(self, rest: str) -> Done:
        thread, _, answer = rest.partition(" ")
        if not thread:
            raise UsageError("which thread? for example: /pin 0.1, or /pin 0.1 42")
        pinned = await self._going("pin").steer.pin(thread, answer.strip() or None)
        return Done(f"pinned: {pinned}")

    async def help(self, rest: str) -> Done:
        if rest:
            name = rest.removeprefix("/")
            if name in COMMANDS:
                return Done(f"{COMMANDS[name].usage}\n  {COMMANDS[name].about}")
            knobs = self.methods.knobs(name)
            told = "\n".join(f"{knob.given:34} {knob.about}".rstrip() for knob in knobs)
            return Done(told, title=name)
        lines = [f"{each.usage:44} {each.about}" for each in COMMANDS.values()]
        return Done("\n".join((*lines, "/help METHOD lists the keys of a method")), title="help")

    def settled(self) -> str:
        """The method, its keys and its budget, as they would be typed."""
        settings = self.session.whole(self.session.settings)
        shown = {key: v for key, v in settings.items() if key != "controller"}
        words = " ".join(_written(shown))
        return f"method: {settings['controller']}{' ' * bool(words)}{words}"

    def _chosen(self, words: Sequence[str], base: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with another method; the budget stays, the keys of the old method do not."""
        keys = [word for word in words if "=" in word]
        names = [word for word in words if "=" not in word]
        if len(names) > 1:
            raise UsageError(f"one method at a time, then key=value; got {' '.join(names)}")
        if names:
            choose("method", names[0], dict.fromkeys(self.methods.names))
            kept = {"budget": base["budget"]} if "budget" in base else {}
            base = {"controller": names[0], **kept}
        settings = merge(base, parse_words(keys))
        self.methods.check(self.session.whole(settings))
        return settings

    def _latest(self) -> Run:
        run = self.session.latest
        if run is None:
            raise UsageError("nothing was asked yet")
        return run

    def _going(self, what: str) -> Run:
        running = self.session.running
        if not running and self.session.latest:
            self.session.latest.allow(what)
            raise UsageError(
                f"the turn has ended: there is nothing to {what}; /fork goes on from its threads"
            )
        if not running:
            raise UsageError("nothing runs")
        running[0].allow(what)
        return running[0]


@dataclass(frozen=True)
class Speed:
    """Keys of /replay."""

    speed: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.speed < float("inf"):
            raise ValueError(f"speed must be 0 or more, got {self.speed}")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}; quote what has spaces or quotes in it") from error


def _path(text: str, example: str) -> Path:
    if not text:
        raise UsageError(f"which file? for example: {example}")
    return Path(_words(text)[0] if text[0] in "'\"" else text).expanduser()


def _sides(words: list[str]) -> tuple[list[str], list[str], str]:
    """The two sides of a comparison and the question. "--" stands between them; without it the
    first two names are the methods, each with the key=value words behind it."""
    if "--" in words:
        at = words.index("--")
        one, rest = words[:at], words[at + 1 :]
        end = rest.index("--") if "--" in rest else len(rest)
        other, question = rest[:end], rest[end + 1 :]
    else:
        sides: list[list[str]] = [[], []]
        side, question = -1, []
        for number, word in enumerate(words):
            if "=" not in word:
                side += 1
            if side > 1:
                question = words[number:]
                break
            sides[max(side, 0)].append(word)
        one, other = sides
    if not one or not other:
        raise UsageError(
            "two methods are compared: /compare apr single, or /compare apr width=4 -- apr width=8"
        )
    return one, other, " ".join(question)


def _written(tables: Mapping[str, Any], at: str = "") -> list[str]:
    found = []
    for key, value in tables.items():
        below = _written(value, f"{at}{key}.") if isinstance(value, Mapping) else []
        found += below or ([f"{at}{key}={value}"] if not isinstance(value, Mapping) else [])
    return found


COMMANDS: dict[str, Command] = {
    "method": Command("/method NAME [KEY=VALUE]", "the method of the next turns", Commands.method),
    "budget": Command(
        "/budget KEY=VALUE | none", "what a turn may spend; also of the one that runs",
        Commands.budget,
    ),
    "model": Command("/model SPEC", "connect another backend, as --backend does", Commands.model),
    "compare": Command(
        "/compare A [K=V] -- B [K=V] [-- QUESTION]", "two methods on one question", Commands.compare
    ),
    "save": Command("/save FILE", "keep the conversation, its trees included", Commands.save),
    "load": Command("/load FILE", "go on with one that was kept", Commands.load),
    "replay": Command("/replay FILE [speed=N]", "play a recorded run back", Commands.replay),
    "stop": Command("/stop", "stop the turn that runs (Esc)", Commands.stop),
    "kill": Command("/kill THREAD", "stop a thread and all below it", Commands.kill),
    "fork": Command("/fork THREAD HINT", "go on from a thread with a hint", Commands.fork),
    "pin": Command("/pin THREAD [ANSWER]", "let that be the answer", Commands.pin),
    "help": Command("/help [COMMAND|METHOD]", "this, or the keys of a method", Commands.help),
    "quit": Command("/quit", "leave (Ctrl-Q)", Commands.help),
}  # fmt: skip
