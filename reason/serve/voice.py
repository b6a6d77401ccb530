"""One thread as a client reads it."""

from collections.abc import Sequence

from reason.backends.base import Backend
from reason.events import Tokens
from reason.serve.speech import Kind, Piece, Speech
from reason.serve.tally import Tally, Token

Said = tuple[Kind, str, list[Token]]
"""A stretch of text for a reader, and the tokens that begin in it, where those are asked for."""


class Voice:
    """Turns the tokens of a thread into what is to be read of it, marks and ends left out."""

    def __init__(self, model: Backend, speech: Speech | None, each: bool = False) -> None:
        """`speech` tells apart what a thread writes that speaks for the run; without it, all is
        reasoning. `each`: whether the tokens of the answer are told, too."""
        self._decode, self._ends = model.decode, model.info.ends
        self._speech = speech
        self.tally = Tally(model.decode, each)

    def hear(self, event: Tokens) -> list[Said]:
        """What these tokens add."""
        ids, text, ended = event.ids, event.text, 0
        if event.origin == "sampled" and ids and ids[-1] in self._ends:
            text, ended = text.removesuffix(self._decode(ids[-1:])), 1
            ids = ids[:-1]
        if self._speech is None:
            self.tally.total += len(event.ids) if event.origin == "sampled" else 0
            return [("reasoning", text, [])] if text else []
        injected = event.origin != "sampled"
        self.tally.add(() if injected else ids, event.logprobs[: len(ids)], len(text))
        found = self._told(self._speech.push(text, last=bool(ended)), injected)
        if ended:
            found += self._over(ended)
        return found

    def close(self) -> list[Said]:
        """What waited for more."""
        if self._speech is None:
            return []
        return self._told(self._speech.push("", last=True), False) + self._over(0)

    def _over(self, ends: int) -> list[Said]:
        assert self._speech is not None
        kind = self._speech.kind
        tokens = self.tally.end(kind, ends)
        return [(kind, "", tokens)] if tokens else []

    def _told(self, pieces: Sequence[Piece], injected: bool) -> list[Said]:
        found: list[Said] = []
        for piece in pieces:
            tokens = self.tally.take(piece.kind, len(piece.text))
            copied = injected and piece.block  # what other threads wrote, and were heard
            if piece.kind in ("content", "reasoning") and not copied:
                found.append((piece.kind, piece.text, tokens))
        return found
