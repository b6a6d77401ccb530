"""A chain of thought that two models write: what one has written, the other reads."""

from reason.engine import Engine
from reason.types import Prompt, SamplingParams, Segment, Thread


class Chain:
    """One line of reasoning as the draft holds it and as the target holds it.

    Models that share a tokenizer pass token ids. Of models that do not, each chunk is encoded for
    the other by itself, so that no token reaches over the border between two chunks and a chunk's
    tokens are exactly those that are scored.
    """

    def __init__(self, engine: Engine, thread: Thread, prompt: Prompt) -> None:
        self.engine = engine
        self.first = thread
        """The thread that the run waits for; what replaces a chunk goes on in its place."""
        self.mine = thread
        """The thread that the draft writes now."""
        self._start = thread.length
        self._prompt = prompt
        self._theirs: Thread | None = None
        self._pairs: list[tuple[Thread, Thread]] = []
        self._before = thread.length
        self._their_before = 0
        self.draft_tokens = self.target_tokens = 0

    @property
    def last(self) -> Thread:
        """The thread that holds what the chain ends with."""
        return self.mine

    @property
    def text(self) -> str:
        """All that was written behind the prompt."""
        return self.engine.excerpt(self.mine, self._start).text

    async def draft(self, sampling: SamplingParams) -> Segment:
        """The draft writes a chunk."""
        self._before = self.mine.length
        try:
            return await self.engine.generate(self.mine, sampling)
        finally:
            self.draft_tokens += self.mine.length - self._before

    async def score(self) -> list[float]:
        """Log-probabilities of the chunk's tokens under the target; none of an empty chunk."""
        theirs = self._target()
        self._their_before = theirs.length
        self._copy(self.mine, theirs, self._before, self.mine.length)
        if theirs.length == self._their_before:
            return []
        return await self.engine.score(theirs)

    async def take_over(self, sampling: SamplingParams, replace: bool) -> Segment:
        """The target writes a chunk, after that of the draft or in its place."""
        theirs = self._target()
        if replace:
            self.mine = self._cut(self.mine, self._before)
            theirs = self._theirs = self._cut(theirs, self._their_before)
        else:  # to go on behind an end of sequence
            if (kept := self.engine.unended(self.mine)) < self.mine.length:
                self.mine = self._cut(self.mine, kept)
            if (kept := self.engine.unended(theirs)) < theirs.length:
                theirs = self._theirs = self._cut(theirs, kept)
        self.engine.join(theirs, [self.mine])  # it has waited for the draft
        before = theirs.length
        try:
            turn = await self.engine.generate(theirs, sampling)
        finally:
            self.target_tokens += theirs.length - before
            self.engine.join(self.mine, [theirs])
        self._copy(theirs, self.mine, before, theirs.length)
        return turn

    def close(self) -> None:
        """The chain is at its end: whoever went on in another's place is joined by it."""
        for before, after in reversed(self._pairs):
            self.engine.join(before, [after])

    def _target(self) -> Thread:
        """The target's thread, with the same history."""
        if self._theirs is None:
            self._theirs = self.engine.spawn(self.first, self._prompt, model="target")
        return self._theirs

    def _cut(self, thread: Thread, kept: int) -> Thread:
        after = self.engine.fork(thread, kept, continues=True)
        if thread is self.mine:
            self._pairs.append((thread, after))
        return after

    def _copy(self, source: Thread, to: Thread, start: int, end: int) -> None:
        """Add tokens `start` to `end` of one thread's context to the other."""
        same = self.engine.same_tokens(source.model, to.model)
        if not same:  # its end of sequence is none of the other model's, and no text
            end = min(end, self.engine.unended(source))
        if start >= end:
            return
        piece = self.engine.excerpt(source, start, end)
        self.engine.append(to, [piece] if same else piece.text)
