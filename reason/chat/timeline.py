"""What a chat shows beside the threads: decisions where they were made, times, accounts."""

from dataclasses import dataclass, field
from typing import Literal

from reason.chat.texts import decision
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.watch import Line, Watch, clean

State = Literal["writing", "waiting", "joined", "done", "cut", "stopped", "failed"]
_ENDED: dict[str, State] = {
    "eos": "done",
    "stop": "done",
    "length": "cut",
    "budget": "cut",
    "cancelled": "stopped",
    "error": "failed",
}
WINDOW = 1.0
"""Seconds over which the speed of a thread is taken, at least."""


@dataclass(slots=True, eq=False)
class Decision:
    """A note of a thread; one after the other of the same name are one."""

    thread: str
    name: str
    value: str
    times: int = 1


@dataclass(slots=True, eq=False)
class Span:
    """When a thread was there, and how fast it writes."""

    began: float
    ended: float | None = None
    entries: list["Line | Decision"] = field(default_factory=list)
    """Threads opened under it, and its decisions, in the order in which they came."""
    tokens: int = 0
    """At `since`."""
    since: float = 0.0
    rate: float = 0.0


class Timeline:
    """A sink beside a Watch, which hears every event first."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.spans: dict[str, Span] = {}
        self.joined: set[str] = set()
        """Threads whose result somebody has waited for."""
        self.version = 0
        """Changes whenever there is another thread or decision."""
        self.events = 0

    def __call__(self, event: Event) -> None:
        self.events += 1
        if isinstance(event, Tokens):
            return
        if isinstance(event, Opened):
            line = self._watch.lines[event.thread]
            self.spans[event.thread] = Span(event.at, since=event.at)
            if line.parent:
                self.spans[line.parent.id].entries.append(line)
            self.version += 1
        elif isinstance(event, Closed):
            self.spans[event.thread].ended = event.at
        elif isinstance(event, Joined):
            self.joined.update(event.children)
        elif event.value != "":  # a fork without a hint
            self._decide(event)

    def _decide(self, event: Noted) -> None:
        entries = self.spans[event.thread].entries
        name, value = clean(event.name), decision(event.value)
        last = entries[-1] if entries else None
        if isinstance(last, Decision) and last.name == name and name != "warning":
            last.value, last.times = value, last.times + 1
        else:
            entries.append(Decision(event.thread, name, value))
        self.version += 1

    @property
    def decisions(self) -> list[Decision]:
        """All of them, thread by thread."""
        entries = (entry for span in self.spans.values() for entry in span.entries)
        return [entry for entry in entries if isinstance(entry, Decision)]

    def state(self, line: Line) -> State:
        """What a thread is doing, in a word."""
        if line.finish is None:
            return "writing" if line.writing else "cut" if self._watch.broken else "waiting"
        ended = _ENDED[line.finish]
        return "joined" if ended == "done" and line.id in self.joined else ended

    def measure(self, now: float) -> None:
        """Take the speed of every open thread that was not measured for a while; `now` in seconds
        since the run began."""
        for name, span in self.spans.items():
            if span.ended is None and now - span.since >= WINDOW:
                tokens = self._watch.lines[name].tokens
                span.rate = (tokens - span.tokens) / (now - span.since)
                span.tokens, span.since = tokens, now

    def rate(self, line: Line) -> float:
        """Tokens a second: of late while it is open, of all its time once it has ended."""
        span = self.spans[line.id]
        if span.ended is None:
            return span.rate
        return line.tokens / (span.ended - span.began) if span.ended > span.began else 0.0

    def below(self) -> dict[str, int]:
        """Tokens of every thread and all under it together."""
        totals = {name: line.tokens for name, line in self._watch.lines.items()}
        for name in reversed(totals):  # children were opened after their parents
            parent = self._watch.lines[name].parent
            if parent:
                totals[parent.id] += totals[name]
        return totals
