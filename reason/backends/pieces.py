"""Tokens for text of which no tokenizer is known: words, with the space before them."""

import re
from collections.abc import Sequence

from reason.types import Prompt, spoken

_PIECE = re.compile(r"\s*\S+|\s+")


class Pieces:
    """A token is a word and the white space before it; ids are given out as words come up.

    Any text comes back as it was. Counts of such tokens are counts of words.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._texts: list[str] = []

    def encode(self, prompt: Prompt) -> list[int]:
        said = spoken(prompt)
        text = (
            said
            if isinstance(said, str)
            else "".join(f"{message['role']}: {message['content']}\n" for message in said)
        )
        return [self.id(piece) for piece in _PIECE.findall(text)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[i] for i in ids)

    def __len__(self) -> int:
        return len(self._texts)

    def id(self, piece: str) -> int:
        """Of a piece as it is, whatever it is."""
        if piece not in self._ids:
            self._ids[piece] = len(self._texts)
            self._texts.append(piece)
        return self._ids[piece]
