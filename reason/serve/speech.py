"""What a thread writes, told apart as it comes: its answer, its thinking, blocks of threads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reason.question import Aside

Kind = Literal["content", "reasoning", "mark", "stop"]
"""For the reader of the answer; for the reader of the reasoning; the marks of thinking, for nobody;
a stop string of the client and what follows it, for nobody either."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text."""

    kind: Kind
    text: str
    block: bool = False
    """In a block of threads, whose text other threads wrote."""


class Speech:
    """Reads a text piece by piece. What may be the beginning of a mark waits for what follows."""

    def __init__(self, asides: Sequence[Aside], thinking: bool, stops: Iterable[str] = ()) -> None:
        """`thinking`: whether a thought has been begun by the prompt."""
        self._asides, self._stops = tuple(asides), tuple(stops)
        self._inside = next((a for a in asides if a.thought), None) if thinking else None
        self._held = ""
        self._begun = thinking
        self._bare = False  # behind a thought, before the first word of the answer
        self._over = False

    @property
    def kind(self) -> Kind:
        """Of what would come next."""
        if self._over:
            return "stop"
        return "reasoning" if self._inside else "content"

    def push(self, text: str, last: bool = False) -> list[Piece]:
        """What can be said now of all that has come, in its order; at the `last`, all of it."""
        self._held += text
        found: list[Piece] = []
        while self._held and self._step(found, last):
            pass
        return found

    def _step(self, found: list[Piece], last: bool) -> bool:
        """Take the next stretch from what is held; whether there may be more."""
        if self._over:
            self._take(found, "stop", len(self._held))
            return False
        begins = {} if self._inside else {a.begin: a for a in self._allowed()}
        marks = [*([self._inside.end] if self._inside else begins), *self._stops]
        places = [(at, mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if not places:
            self._say(found, len(self._held) - (0 if last else self._waiting(marks)))
            return False
        at, mark = min(places)
        if mark in self._stops:
            self._say(found, at)
            self._over = True
        elif self._inside:
            self._say(found, at)
            aside, self._inside = self._inside, None
            self._bare = aside.thought
            self._close(found, len(mark), aside)
        else:
            aside = begins[mark]
            blank = at if aside.thought else 0  # a thought has only white space before it
            self._say(found, at - blank)
            self._inside, self._begun = aside, True
            self._close(found, blank + len(mark), aside)
        return True

    def _allowed(self) -> list[Aside]:
        """A thread thinks first, or not at all."""
        said = self._held.lstrip()
        return [
            a
            for a in self._asides
            if not a.thought or (not self._begun and said.startswith(a.begin[: len(said)]))
        ]

    def _waiting(self, marks: Sequence[str]) -> int:
        """Characters at the end of what is held that may turn out to be something else."""
        said = self._held.lstrip()
        if not self._begun and any(a.thought and a.begin.startswith(said) for a in self._asides):
            return len(self._held)
        return overlap(self._held, marks)

    def _say(self, found: list[Piece], length: int) -> None:
        if self._inside is not None:
            self._take(found, "reasoning", length, not self._inside.thought)
            return
        if self._bare and length:
            blank = length - len(self._held[:length].lstrip())
            self._take(found, "mark", blank)
            length -= blank
            self._bare = not length
        self._begun = self._begun or bool(self._held[:length].strip())
        self._take(found, "content", length)

    def _close(self, found: list[Piece], length: int, aside: Aside) -> None:
        """The marks of blocks are shown with them."""
        self._take(found, "mark" if aside.thought else "reasoning", length, not aside.thought)

    def _take(self, found: list[Piece], kind: Kind, length: int, block: bool = False) -> None:
        if length:
            found.append(Piece(kind, self._held[:length], block))
            self._held = self._held[length:]


def overlap(text: str, marks: Iterable[str]) -> int:
    """Length of the longest end of the text that a mark begins with, but is not."""
    longest = 0
    for mark in marks:
        for length in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:length]):
                longest = length
                break
    return longest
