"""The thread trees of an evaluation on disk: one line of JSON for each run, its events in short.

A line is there before the row of its sample is, and as soon on the disk; one whose row a killed
process never wrote is followed by another of the same name, which counts.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from eval.jsonl import read_line, read_lines
from reason.events import Event

NAME = "trees.jsonl"


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one run."""

    id: str
    repeat: int
    events: list[Event]

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.repeat


class _Name(msgspec.Struct):
    """A tree without its events, which are skipped unread."""

    id: str
    repeat: int


_NAME, _TREE = msgspec.json.Decoder(_Name), msgspec.json.Decoder(Tree)


class Trees(Mapping[tuple[str, int], Tree]):
    """A file of trees by their keys: their places are known, and each is read when it is asked for.

    Raises UsageError for a file that cannot be read, and for a damaged line when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        """Where the line begins, and its number."""
        for line in read_lines(path):
            name = line.decoded(_NAME, "a tree")
            self._places[name.id, name.repeat] = line.start, line.number

    def __getitem__(self, key: tuple[str, int]) -> Tree:
        return read_line(self.path, *self._places[key]).decoded(_TREE, "a tree")

    def __contains__(self, key: object) -> bool:
        return key in self._places  # without reading it

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_trees(path: Path) -> Iterator[Tree]:
    """The trees of a file, one at a time, each run's last. Raises UsageError for a damaged line."""
    yield from Trees(path).values()
