"""A run's thread tree as a timeline: what every thread did, and when, by the clock in tokens and in
seconds; plain values, for the page of a report."""

from collections.abc import Iterable, Sequence
from math import fsum
from typing import Any

from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.watch import Watch

Span = list[float]


class _Line:
    """A thread, as it stands."""

    def __init__(self, event: Opened, clock: int) -> None:
        self.clock, self.touched = clock, event.at
        self.segments: list[dict[str, Any]] = []
        self.waits: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.logprobs: list[float] = []
        self.shown: dict[str, Any] = {
            "id": event.thread,
            "model": event.model,
            "parent": event.parent,
            "kept": event.kept,
            "continues": event.continues,
            "born": [clock, event.at],
            "segments": self.segments,
            "waits": self.waits,
            "notes": self.notes,
            "end": None,
            "finish": None,
            "detail": "",
        }

    def add(self, event: Tokens) -> None:
        """A piece of a segment. A request that is answered at once took the time since the thread
        last did something."""
        begun = self.touched if event.since is None else event.since
        if event.segment == len(self.segments):
            self.logprobs = []
            self.segments.append(
                {
                    "origin": event.origin,
                    "text": "",
                    "tokens": 0,
                    "clock": [self.clock, self.clock],
                    "time": [event.at if event.origin != "sampled" else begun, event.at],
                    "finish": None,
                    "stop": None,
                    "logprob": None,
                    "prompt": 0,
                    "cached": 0,
                }
            )
        segment = self.segments[event.segment]
        if event.origin == "sampled":
            self.clock += len(event.ids)
        self.logprobs += event.logprobs
        segment["text"] += event.text
        segment["tokens"] += len(event.ids)
        segment["clock"][1], segment["time"][1] = self.clock, event.at
        segment["prompt"] += event.prompt_tokens
        segment["cached"] += event.cached_tokens
        if self.logprobs:
            segment["logprob"] = fsum(self.logprobs) / len(self.logprobs)
        if event.finish:
            segment["finish"], segment["stop"] = event.finish, event.stopped_at
        self.touched = event.at

    def wait(self, event: Joined, children: Sequence["_Line"]) -> None:
        """It waited from its last own doing on; not for one that goes on in its place."""
        before, since = self.clock, self.touched
        self.clock = max([before, *(child.clock for child in children)])
        self.touched = event.at
        others = [child.shown["id"] for child in children if not child.shown["continues"]]
        if others:
            span = {"clock": [before, self.clock], "time": [since, event.at]}
            self.waits.append({**span, "for": others})


def timeline(events: Iterable[Event], thread: str | None, answer: str | None) -> dict[str, Any]:
    """All threads in the order in which they were opened; `thread` is the one with the answer.

    Raises LookupError for events of a thread or segment that was never opened.
    """
    lines: dict[str, _Line] = {}
    watch, at = Watch(), 0.0
    for event in events:
        watch(event)
        at = max(at, event.at)
        if isinstance(event, Opened):
            parent = lines[event.parent] if event.parent is not None else None
            lines[event.thread] = _Line(event, parent.clock if parent else 0)
            continue
        line = lines[event.thread]
        if isinstance(event, Tokens):
            line.add(event)
        elif isinstance(event, Joined):
            line.wait(event, [lines[child] for child in event.children])
        elif isinstance(event, Closed):
            line.shown |= {"end": [line.clock, event.at], "finish": event.finish}
            line.shown["detail"] = event.detail
        elif isinstance(event, Noted):
            note = {"name": event.name, "value": event.value, "at": [line.clock, event.at]}
            line.notes.append(note)
    if answer is not None:
        watch.win(thread, answer)
    critical = watch.critical()
    for name, line in lines.items():
        line.shown["end"] = line.shown["end"] or [line.clock, at]
        line.shown["critical"] = name in critical
        line.shown["answer"] = name in watch.winners
    clock = max((line.clock for line in lines.values()), default=0)
    return {
        "threads": [line.shown for line in lines.values()],
        "clock": clock,
        "critical_path": watch.clock(),
        "seconds": at,
    }
