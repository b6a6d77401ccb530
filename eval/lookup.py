"""Single trees of a file that holds very many: their places are known, and only these are read."""

from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from eval.trees import Tree
from reason.errors import UsageError

T = TypeVar("T")


class _Name(msgspec.Struct):
    """A tree without its events, which are skipped unread."""

    id: str
    repeat: int


_NAME, _TREE = msgspec.json.Decoder(_Name), msgspec.json.Decoder(Tree)


class Trees:
    """A file of trees by their keys; of several of one run the last counts.

    Raises UsageError for a file that cannot be read, and for a damaged line when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        """Where the line begins, and its number."""
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    name = self._decoded(_NAME, number, line)
                    self._places[name.id, name.repeat] = (file.tell() - len(line), number)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: tuple[str, int]) -> Tree:
        start, number = self._places[key]
        with self._open() as file:
            file.seek(start)
            return self._decoded(_TREE, number, file.readline())

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error

    def _decoded(self, decoder: msgspec.json.Decoder[T], number: int, line: bytes) -> T:
        try:
            return decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{self.path}, line {number}: not a tree ({error})") from error
