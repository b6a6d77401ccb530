"""What a viewer needs to know of a run, folded from its events: small, and quick to keep."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reason.events import Closed, Event, Joined, Opened, Tokens
from reason.types import Finish

TAIL = 300
"""Characters kept of what a thread wrote."""


@dataclass(slots=True, eq=False)
class Line:
    """One thread as it is shown."""

    id: str
    parent: "Line | None"
    born: int
    """The clock at which it began."""
    clock: int
    level: int = 0
    """Threads above it, not counting those in whose place it goes on."""
    continues: bool = False
    """Goes on in its parent's place."""
    forked: bool = False
    label: str = ""
    tail: str = ""
    tokens: int = 0
    """Sampled."""
    writing: bool = False
    finish: Finish | None = None
    detail: str = ""
    touched: float = 0.0
    segment: int = 0
    """The one that is being written."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Stretches of the clock in which it wrote."""
    jumps: list[tuple[int, "Line"]] = field(default_factory=list)
    """Clocks it was moved to by a join, with the child that was the slowest."""
    joined: list["Line"] = field(default_factory=list)
    children: list["Line"] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


class Watch:
    """A sink, and the threads as they stand."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.tokens = 0
        self.threads = 0
        """Lines of reasoning: one that goes on in its parent's place is none of its own."""
        self.alive = 0
        self.at = 0.0
        self.broken = False
        """Whether no more events will come, though threads are open."""
        self.winners: set[str] = set()
        """Threads that the answer came from, once it is known."""

    def __call__(self, event: Event) -> None:
        self.at = event.at
        if isinstance(event, Opened):
            self._open(event)
            return
        line = self.lines[event.thread]
        line.touched = event.at
        if isinstance(event, Tokens):
            self._add(line, event)
        elif isinstance(event, Joined):
            self._join(line, [self.lines[child] for child in event.children])
        elif isinstance(event, Closed):
            line.finish, line.detail, line.writing = event.finish, clean(event.detail), False
            self.alive -= not line.continues
        else:
            line.notes[clean(event.name)] = _value(event.value)

    def _open(self, event: Opened) -> None:
        parent = self.lines[event.parent] if event.parent is not None else None
        clock = parent.clock if parent else 0
        line = Line(event.thread, parent, clock, clock, touched=event.at)
        if parent:
            parent.children.append(line)
            line.forked = event.kept > 0
            line.continues = event.continues
            line.level = parent.level + (not line.continues)
        self.lines[event.thread] = line
        self.threads += not line.continues
        self.alive += not line.continues

    def _add(self, line: Line, event: Tokens) -> None:
        if event.origin == "prompt":
            line.label = label(event.text)
            return
        gap = "" if event.segment == line.segment else " "
        line.segment = event.segment
        line.tail = (line.tail + gap + clean(event.text))[-TAIL:]
        if event.origin == "injected":
            return
        before, line.clock = line.clock, line.clock + len(event.ids)
        line.tokens += len(event.ids)
        self.tokens += len(event.ids)
        line.writing = event.finish is None
        if line.spans and line.spans[-1][1] == before:
            line.spans[-1] = (line.spans[-1][0], line.clock)
        elif line.clock > before:
            line.spans.append((before, line.clock))

    def _join(self, line: Line, children: list[Line]) -> None:
        line.joined += children
        slowest = max(children, key=lambda child: child.clock, default=line)
        if slowest.clock > line.clock:
            line.clock = slowest.clock
            line.jumps.append((line.clock, slowest))

    def cut(self) -> None:
        """No more events will come, though threads are open."""
        self.alive, self.broken = 0, True
        for line in self.lines.values():
            line.writing = False

    def critical(self) -> set[str]:
        """The chain of threads that determined the root's clock; of a run that still goes on,
        the chain to the thread that is the furthest."""
        if not self.lines:
            return set()
        line: Line | None = self.lines["0"]
        assert line
        if line.finish is None:
            alive = (other for other in self.lines.values() if other.finish is None)
            line = max(alive, key=lambda other: other.clock)
        found, clock = set(), line.clock
        while line:
            found.add(line.id)
            jump = next((j for j in reversed(line.jumps) if j[0] <= clock), None)
            if jump:
                clock, line = jump
            else:
                clock, line = line.born, line.parent
        return found

    def clock(self) -> int:
        """The root's clock; in a run that still goes on, the furthest of all."""
        if not self.lines:
            return 0
        root = self.lines["0"]
        return root.clock if root.finish else max(line.clock for line in self.lines.values())

    def win(self, thread: str | None, answer: str | None) -> None:
        """Mark the thread that holds the answer, those above it, and of what was joined on the
        way the children whose last words are the end of that answer."""
        line = self.lines.get(thread or "")
        joins = [line] if line else []
        while line:
            self.winners.add(line.id)
            if line.continues and line.parent:
                joins.append(line.parent)
            line = line.parent
        if answer:
            seen: set[str] = set()
            for join in joins:
                self._credit(join, clean(answer), seen)

    def _credit(self, line: Line, answer: str, seen: set[str]) -> None:
        """`seen`: two threads may have waited for each other, one after the other."""
        if line.id in seen:
            return
        seen.add(line.id)
        for child in line.joined:
            words = last_words(child)
            if words and not child.continues and re.search(rf"(?<!\w){re.escape(words)}$", answer):
                for link in chain(child):
                    self.winners.add(link.id)
                    self._credit(link, words, seen)
                return


def chain(line: Line) -> Iterator[Line]:
    """The thread, and one after the other those that went on in its place."""
    current: Line | None = line
    while current:
        yield current
        current = next((c for c in reversed(current.children) if c.continues), None)


def last_words(line: Line) -> str:
    """What stands between the last tags that the thread, or who went on in its place, wrote."""
    *_, last = chain(line)
    pieces = [piece.strip() for piece in re.split(r"<[^<>]*>", last.tail)]
    return next((piece for piece in reversed(pieces) if piece), "")


def label(prompt: str) -> str:
    """A prompt in short: the last user's words of a chat, without the marks of the template."""
    _, turn, said = prompt.rpartition("user\n")
    words = re.sub(r"<[^<>\s]*>(assistant\b)?", " ", said if turn else prompt)
    return " ".join(clean(words[:TAIL]).split())


def clean(text: str) -> str:
    """Text that a terminal cannot take for commands, on one line: control characters become
    pictures of themselves, joiners and direction marks vanish."""
    if not (text.isprintable() and text.isascii()):
        text = re.sub(r"\s+", " ", text).translate(_PICTURES)
        if not text.isprintable():
            text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text


_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]),
    **dict.fromkeys([*range(0xFE00, 0xFE10), 0xFEFF, 0xAD]),
}


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{clean(str(key))} {_value(item)}" for key, item in value.items())
    return clean(str(value))[:TAIL]
