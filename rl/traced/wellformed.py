"""Whether a text is well-formed: ThreadWeaver's blocks and nothing else of its tags.

The strict check of Lian et al. 2025, appendix C: a filter of examples, never a reward. White space
between tags is free, as it is part of the prompts that a runtime puts in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rl.traced.unusable import Unusable

TAG = re.compile(r"</?(?:Parallel|Outlines|Outline|Thread|Conclusion)>")
_NUMBERED = re.compile(r"\s*([0-9]{1,4})\s*:\s*(\S.*?)\s*", re.DOTALL)
FORMAT = "malformed"
"""The reason for which such a text is left out."""


@dataclass(frozen=True, slots=True)
class Block:
    """Parts that need nothing of each other: what each will do, and how it was done."""

    outlines: tuple[str, ...]
    threads: tuple[str, ...]
    """One for each outline, without its number and without white space around it."""


def read_blocks(text: str) -> list[Block]:
    """The blocks of all that one run wrote. Raises Unusable for tags that stand anywhere else, do
    not match or are nested, for numbers that are not 1, 2, … in outlines and threads alike, and
    for a block with less than two threads."""
    pieces = _Pieces(text)
    found = []
    while pieces.next("<Parallel>", anything=True):
        found.append(_block(pieces))
    return found


def _block(pieces: "_Pieces") -> Block:
    pieces.expect("<Outlines>")
    outlines = list(_numbered(pieces, "Outline"))
    pieces.expect("</Outlines>")
    threads = list(_numbered(pieces, "Thread"))
    pieces.expect("</Parallel>")
    if len(outlines) != len(threads):
        raise Unusable(FORMAT, f"{len(outlines)} outlines, but {len(threads)} threads")
    if len(threads) < 2:
        raise Unusable(FORMAT, "a block of less than two threads")
    return Block(tuple(outlines), tuple(threads))


def _numbered(pieces: "_Pieces", tag: str) -> Iterator[str]:
    number = 0
    while pieces.next(f"<{tag}>"):
        number += 1
        inside = pieces.expect(f"</{tag}>", anything=True)
        match = _NUMBERED.fullmatch(inside)
        if match is None:
            raise Unusable(FORMAT, f"in {tag.lower()} {number} stands no 'number: text'")
        if match[1] != str(number):
            raise Unusable(FORMAT, f"{tag.lower()} {number} says it is number {match[1]}")
        yield match[2]


class _Pieces:
    """Tags one after the other, with what stands before each."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def next(self, tag: str, anything: bool = False) -> bool:
        """Go on behind this tag, if it is the next one; before it may stand nothing but white
        space, or `anything`. False for another tag, and for the end, which only the outermost text
        may come to."""
        found = TAG.search(self._text, self._at)
        if found is None or found[0] != tag:
            if anything and found is not None:
                raise Unusable(FORMAT, f"{found[0]} stands where {tag} was to be expected")
            return False
        before = self._text[self._at : found.start()]
        if not anything and before.strip():
            raise Unusable(FORMAT, f"text stands before {tag}: {before.strip()[:60]!r}")
        self._before, self._at = before, found.end()
        return True

    def expect(self, tag: str, anything: bool = False) -> str:
        """The same for a tag that must come; what stands before it."""
        if not self.next(tag, anything):
            found = TAG.search(self._text, self._at)
            what = f"{found[0]} stands where" if found else "the text ends where"
            raise Unusable(FORMAT, f"{what} {tag} was to be expected")
        return self._before
