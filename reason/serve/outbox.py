"""What a client has not been sent yet. A run never waits for its reader: what comes meanwhile is
put together, so that a slow reader gets fewer and longer pieces."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reason.events import Event
from reason.serve.speech import Kind
from reason.serve.tally import Token

WINDOW = 0.04
"""Seconds for which reasoning is gathered while several threads write at once."""


@dataclass(slots=True)
class Delta:
    """Text of one thread."""

    kind: Kind
    thread: str
    parts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


class Bell:
    """Wakes whoever sends: at once for an answer, by and by for reasoning."""

    def __init__(self) -> None:
        self.anything, self.urgent = asyncio.Event(), asyncio.Event()

    def ring(self, urgent: bool) -> None:
        self.anything.set()
        if urgent:
            self.urgent.set()

    def clear(self) -> None:
        self.anything.clear()
        self.urgent.clear()


class Outbox:
    """Of one run. Its reasoning is kept by thread, so that no more than its text is held."""

    def __init__(self, bell: Bell, events: bool = False) -> None:
        self._bell = bell
        self._events: list[Event] | None = [] if events else None
        self._reasoning: dict[str, Delta] = {}
        self._content: list[Delta] = []
        self._first = True
        self.writing: set[str] = set()
        """Threads that are being written."""

    def put(self, kind: Kind, thread: str, text: str, tokens: Sequence[Token] = ()) -> None:
        """A stretch of text, or tokens of an answer that have none."""
        if kind == "content":
            if not self._content or self._content[-1].thread != thread:
                self._content.append(Delta(kind, thread))
            delta = self._content[-1]
        else:
            delta = self._reasoning.setdefault(thread, Delta(kind, thread))
        delta.parts.append(text)
        delta.tokens += tokens
        self._bell.ring(kind == "content" or self._first or len(self.writing) < 2)
        self._first = False

    def happened(self, event: Event) -> None:
        """Something to be told as it is, where that was asked for."""
        if self._events is not None:
            self._events.append(event)
            self._bell.ring(len(self.writing) < 2)

    def events(self) -> list[Event]:
        """Those that have not been sent; they are now."""
        found = self._events or []
        if found:
            self._events = []
        return found

    def deltas(self) -> Iterator[Delta]:
        """The same of text: reasoning first, which came before the answer."""
        found = [*self._reasoning.values(), *self._content]
        self._reasoning, self._content = {}, []
        yield from found
