"""Training examples: one row for each run, in text and, where a tokenizer is known, in token ids.

A run is a handful of requests (rl/requests.py): what the model read, and what it wrote and is
trained on.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from reason.backends.replay import Codec
from reason.tree import ThreadTree
from reason.types import Message, Origin, Prompt, spoken
from rl.requests import Request, requests_of


class Piece(msgspec.Struct, frozen=True):
    """Text of one origin. Each is cut into tokens by itself."""

    origin: Origin
    text: str


class Line(msgspec.Struct, frozen=True):
    """One thread: what it sees of its parent, and what it adds."""

    thread: str
    pieces: tuple[Piece, ...]
    parent: str | None = None
    sees: int = 0
    """How many of its parent's pieces it sees, behind the prompt."""


class Ids(msgspec.Struct, frozen=True):
    """A request in token ids."""

    context: tuple[int, ...]
    sampled: tuple[int, ...]


class Figures(msgspec.Struct, frozen=True):
    """An example in numbers: tokens of the student, or words where no tokenizer is known."""

    tokens: int
    """All that is sampled."""
    critical_path: int
    """Of these, those on the longest chain of threads that wait for each other."""
    parallel: int
    """Of these, those in threads."""
    longest: int
    """The longest sequence, prompt and injected text included."""
    blocks: int
    threads: int

    @property
    def acceleration(self) -> float:
        """1 - critical path / tokens: the acceleration ratio of Lian et al. 2025, section 4, over
        what is sampled; what the runtime puts in costs no step."""
        return 1 - self.critical_path / self.tokens if self.tokens else 0.0


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One run, to be learnt."""

    id: str
    kind: Literal["parallel", "sequential"]
    """Whether there is a block in it."""
    prompt: str | list[Message]
    """What all threads begin with: a chat, or text in which that is done already."""
    lines: tuple[Line, ...]
    """The threads, root first, without the prompt. Where ids are known, texts are theirs, to the
    end-of-sequence token."""
    ended: bool
    """Whether such a token ends the root's last piece, or, without ids, belongs behind it."""
    figures: Figures
    tokenizer: str = ""
    requests: tuple[Ids, ...] | None = None
    """Of the tokenizer; None without one."""

    def texts(self) -> Iterator[tuple[list[str], str]]:
        """Every request in text, in the order of `requests`: the pieces of its context behind the
        prompt, and what is sampled."""
        lines = {line.thread: line for line in self.lines}
        for line in self.lines:
            before = _seen(line, lines)
            for number, piece in enumerate(line.pieces):
                if piece.origin == "sampled":
                    yield [*before, *(one.text for one in line.pieces[:number])], piece.text


def requests_in(example: Example) -> tuple[Request, ...]:
    """The requests of a row as a trainer packs them; none without token ids."""
    return tuple(Request(ids.context, ids.sampled) for ids in example.requests or ())


def encoded(example: Example, codec: Codec, end: int | None = None) -> Iterator[Request]:
    """The requests of a row in the tokens of any tokenizer; `end` ends a sequence there, of rows
    without ids."""
    turns = sum(piece.origin == "sampled" for piece in example.lines[0].pieces)
    stop = [end] if example.ended and not example.tokenizer and end is not None else []
    for number, (context, sampled) in enumerate(example.texts(), 1):
        ids = [i for text in (example.prompt, *context) for i in codec.encode(text)]
        yield Request(ids, [*codec.encode(sampled), *(stop if number == turns else [])])


def example_of(id: str, prompt: Prompt, tree: ThreadTree, tokenizer: str) -> Example:
    """The example that this run is. An empty `tokenizer` leaves the ids out."""
    figures, said = figures_of(tree), spoken(prompt)
    ids = [Ids(tuple(r.context), tuple(r.sampled)) for r in requests_of(tree)]
    return Example(
        id=id,
        kind="parallel" if figures.blocks else "sequential",
        prompt=said if isinstance(said, str) else list(said),
        lines=tuple(_lines(tree)),
        ended=tree.root.segments[-1].finish == "eos",
        figures=figures,
        tokenizer=tokenizer,
        requests=tuple(ids) if tokenizer else None,
    )


def figures_of(tree: ThreadTree) -> Figures:
    """What a run took, in tokens."""
    sampled = {
        thread.id: sum(len(s.ids) for s in thread.segments if s.origin == "sampled")
        for thread in tree
    }
    total, threads = sum(sampled.values()), len(tree) - 1
    return Figures(
        tokens=total,
        critical_path=tree.critical_path,
        parallel=total - sampled[tree.root.id],
        longest=tree.longest_sequence,
        blocks=len({thread.kept for thread in tree if thread.parent}),
        threads=threads,
    )


def _lines(tree: ThreadTree) -> Iterator[Line]:
    for thread in tree:
        own = [s for s in thread.segments if s.ids and s.origin != "prompt"]
        pieces = tuple(Piece(s.origin, s.text) for s in own)
        sees, left = 0, thread.kept
        for segment in thread.parent.segments if thread.parent else ():
            if left <= 0:
                break
            left -= len(segment.ids)
            sees += bool(segment.ids) and segment.origin != "prompt"
        yield Line(thread.id, pieces, thread.parent.id if thread.parent else None, sees)


def _seen(line: Line, lines: dict[str, Line]) -> list[str]:
    if line.parent is None:
        return []
    parent = lines[line.parent]
    return [*_seen(parent, lines), *(piece.text for piece in parent.pieces[: line.sees])]
