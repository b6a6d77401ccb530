"""Which tokens a text is made of, when it is told apart: each belongs where it begins."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reason.serve.speech import Kind


@dataclass(frozen=True, slots=True)
class Token:
    """One that is part of an answer."""

    text: str
    logprob: float


@dataclass(slots=True)
class _Run:
    """Tokens, with so many characters between them that nobody has taken yet."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    left: int
    taken: bool = False


class Tally:
    """Counts the tokens of a text as pieces of it are taken, in its order."""

    def __init__(self, decode: Callable[[Sequence[int]], str], each: bool = False) -> None:
        """`each`: whether single tokens are asked for, and not only their number."""
        self._decode, self._each = decode, each
        self._runs: deque[_Run] = deque()
        self._last: Kind | None = None
        self.answer = 0
        """Tokens of the answer, the end of its sequence and a stop string included."""
        self.total = 0

    def add(self, ids: Sequence[int], logprobs: Sequence[float], characters: int) -> None:
        """These tokens were sampled, and are so many characters of the text."""
        self.total += len(ids)
        if len(ids) > 1 and self._each:
            self._runs += self._split(tuple(ids), tuple(logprobs), characters)
        else:
            self._runs.append(_Run(tuple(ids), tuple(logprobs), characters))

    def take(self, kind: Kind, characters: int) -> list[Token]:
        """So many characters are of that kind; the tokens of an answer that begin in them."""
        found: list[Token] = []
        while self._runs and not self._runs[0].left:  # they belong to what came before
            self._count(self._runs.popleft(), self._last or kind, found)
        while characters > 0 and self._runs:
            run = self._runs[0]
            if not run.taken and len(run.ids) > 1 and run.left > characters:
                self._runs.popleft()
                self._runs.extendleft(reversed(self._split(run.ids, run.logprobs, run.left)))
                run = self._runs[0]
            if not run.taken:
                self._count(run, kind, found)
                run.taken = True
            step = min(run.left, characters)
            run.left -= step
            characters -= step
            if not run.left:
                self._runs.popleft()
        self._last = kind
        return found

    def end(self, kind: Kind, ids: int = 0) -> list[Token]:
        """What is left has no characters; `ids` more tokens end the text, of that kind, too."""
        found: list[Token] = []
        while self._runs:
            run = self._runs.popleft()
            if not run.taken:
                self._count(run, self._last or kind, found)
        self.total += ids
        if kind != "reasoning":
            self.answer += ids
        return found

    def _count(self, run: _Run, kind: Kind, found: list[Token]) -> None:
        if kind in ("content", "stop"):
            self.answer += len(run.ids)
        if kind == "content" and self._each:
            for one, logprob in zip(run.ids, run.logprobs, strict=False):
                found.append(Token(self._decode([one]), logprob))

    def _split(
        self, ids: tuple[int, ...], logprobs: tuple[float, ...], characters: int
    ) -> list[_Run]:
        """One run for each token; the last has what their texts by themselves do not add up to."""
        ends = [min(len(self._decode(ids[:n])), characters) for n in range(len(ids))]
        given = logprobs or (0.0,) * len(ids)
        return [
            _Run((one,), (p,), end - start)
            for one, p, (start, end) in zip(ids, given, pairwise([*ends, characters]), strict=True)
        ]
