"""A chain with blocks in it, and what a model would write of it, request by request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from controllers.grammar import ThreadFormat
from rl.traced.wellformed import Block

End = Literal["model", "runtime"]
"""Who ends a block; see controllers/threadweaver.py."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Texts and blocks in turn: a text more than there are blocks. One without blocks is the
    chain itself."""

    texts: tuple[str, ...]
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.blocks) + 1:
            raise ValueError(f"{len(self.blocks)} blocks stand between {len(self.texts)} texts")

    def turns(self, form: ThreadFormat, end: End) -> Iterator[str]:
        """What the root writes, from block to block."""
        for number, text in enumerate(self.texts):
            ended = f"{form.block_end if end == 'model' else ''}\n" if number else ""
            if number == len(self.blocks):
                yield ended + text
                return
            before, between, after = form.outline
            outlines = "".join(
                f"{before}{n}{between}{outline}{after}"
                for n, outline in enumerate(self.blocks[number].outlines, 1)
            )
            yield f"{ended}{text}{form.block}{outlines}{form.outlines_end}"

    def threads(self, form: ThreadFormat) -> Iterator[Sequence[str]]:
        """What is written in the threads of each block. They begin with a space, as the header
        ends with a colon: so it is cut into the tokens that models know."""
        for block in self.blocks:
            yield [f" {thread}{form.unclosed}" for thread in block.threads]
