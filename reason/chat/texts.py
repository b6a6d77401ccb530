"""The whole text of every thread, and which of its tokens a place in it belongs to."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from reason.events import Event, Noted, Opened, Tokens
from reason.types import Origin
from reason.watch import clean


@dataclass(slots=True)
class Piece:
    """What one event added to a thread."""

    text: str
    """As it is shown: without what a terminal could take for a command."""
    ids: tuple[int, ...]
    origin: Origin | None
    """None of a decision, which stands where it was made and is no token."""
    segment: int = -1


@dataclass(slots=True)
class Script:
    """The text of one thread, in the pieces in which it came."""

    kept: int = 0
    """Tokens of the parent's context before the first piece."""
    pieces: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it, prompt and decisions included."""
        return "".join(piece.text for piece in self.pieces)

    def written(self) -> str:
        """What was added behind the prompt, without decisions."""
        return "".join(p.text for p in self.pieces if p.origin in ("sampled", "injected"))

    def last(self) -> str:
        """What was sampled last, in one go."""
        ours = [piece for piece in self.pieces if piece.origin == "sampled"]
        return "".join(p.text for p in ours if p.segment == ours[-1].segment)

    def cut_at(
        self, character: int, decode: Callable[[Sequence[int]], str] | None = None
    ) -> tuple[int, int]:
        """Tokens of the thread's context that lie wholly before a character of `text`, and where in
        the text they end.

        Known by the event, and to the token where `decode` makes text of ids.
        """
        ends = list(accumulate(len(piece.text) for piece in self.pieces))
        whole = bisect_right(ends, character)
        kept = self.kept + sum(len(piece.ids) for piece in self.pieces[:whole])
        at = ends[whole - 1] if whole else 0
        if whole == len(self.pieces) or decode is None or at == character:
            return kept, at
        piece = self.pieces[whole]
        lengths = [len(shown(decode(piece.ids[:n]))) for n in range(len(piece.ids) + 1)]
        more = max(bisect_right(lengths, character - at) - 1, 0)
        return kept + more, at + lengths[more]

    def step(self, character: int, by: int) -> int:
        """The beginning of the piece after that character (`by` 1), or of the one before (-1)."""
        starts = [0, *accumulate(len(piece.text) for piece in self.pieces)]
        if by > 0:
            return next((start for start in starts if start > character), starts[-1])
        return next((start for start in reversed(starts) if start < character), 0)


class Texts:
    """A sink that keeps the text of every thread."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Tokens):
            piece = Piece(shown(event.text), event.ids, event.origin, event.segment)
            self.scripts[event.thread].pieces.append(piece)
        elif isinstance(event, Opened):
            self.scripts[event.thread] = Script(event.kept)
        elif isinstance(event, Noted) and event.thread in self.scripts and event.value != "":
            said = f"\n◆ {clean(event.name)}: {decision(event.value)}\n"
            self.scripts[event.thread].pieces.append(Piece(said, (), None))


def shown(text: str) -> str:
    """Text of a model that a terminal cannot take for commands; its lines stay lines."""
    if text.isprintable() and text.isascii():
        return text
    text = re.sub(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n", text).expandtabs(4)
    return "\n".join(_kept(line) for line in text.split("\n"))


def _kept(line: str) -> str:
    """`clean`, but for spaces, which code is indented by."""
    return re.sub(r"[^ ]+", lambda word: clean(word[0]), line)


def decision(value: object) -> str:
    """The value of a note in words."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{clean(str(key))} {decision(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(decision, value))
    return clean(str(value))
