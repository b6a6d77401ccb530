"""A backend that follows a script: a real implementation for tests, demos and benchmarks."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from reason.backends.base import Chunk, Info, Usage
from reason.errors import Unsupported
from reason.types import Finish, Prompt, SamplingParams, spoken

Script = Callable[[str, SamplingParams], str | Awaitable[str]]
"""What the model writes after this context; the end of the returned text is its end of sequence."""

LOGPROB = -0.1


class ScriptedBackend:
    """Answers with `script(context, params)`, `chunk` tokens at a time.

    A token is a character, or with `words` what stands between spaces. Reproducible if the script
    is. `delay` is the pause before every chunk, in seconds.
    """

    def __init__(
        self,
        script: Script,
        *,
        words: bool = False,
        chunk: int = 8,
        delay: float = 0.0,
        context: int = 1_000_000,
        model: str = "scripted",
    ) -> None:
        self.script, self.chunk, self.delay = script, chunk, delay
        self.running = 0
        """Requests being answered at this moment."""
        self.info = Info(model, "words" if words else "characters", context, 0x110000, "always")
        self._space = " " if words else ""
        self._word_ids: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, prompt: Prompt) -> list[int]:
        said = spoken(prompt)
        if not isinstance(said, str):
            said = "".join(f"<{m['role']}>{m['content']}</{m['role']}>" for m in said)
        return self._encode(said)

    def _encode(self, text: str) -> list[int]:
        if not self._space:
            return [ord(c) for c in text]
        for word in text.split():
            if word not in self._word_ids:
                self._word_ids[word] = len(self._words)
                self._words.append(word)
        return [self._word_ids[word] for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        if not self._space:
            return "".join(map(chr, ids))
        return " ".join(self._words[i] for i in ids)

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        if params.grammar:
            raise Unsupported("the scripted backend has no grammars; a backend on SGLang does")
        self.running += 1
        try:
            written = self.script(self.decode(ids), params)
            if not isinstance(written, str):
                written = await written
            out, finish, stop = self._cut(self._encode(written), params, len(ids))
            for start in range(0, max(len(out), 1), self.chunk):
                await asyncio.sleep(self.delay)
                piece = tuple(out[start : start + self.chunk])
                last = start + self.chunk >= len(out)
                yield Chunk(
                    (self._space if start else "") + self.decode(piece),
                    piece,
                    (LOGPROB,) * len(piece),
                    finish if last else None,
                    stop if last else None,
                    Usage(len(ids)) if last else None,
                )
        finally:
            self.running -= 1

    def _cut(
        self, ids: list[int], params: SamplingParams, used: int
    ) -> tuple[list[int], Finish, str | None]:
        """What is written before the first stop, or the limit, and which of them it was."""
        text = self.decode(ids)
        ends: list[tuple[int, str | None]] = []
        for stop in params.stop:
            if stop in text:
                end = text.index(stop) + len(stop)
                ends.append((len(self._encode(text[:end])), stop))
        ends += [(ids.index(token) + 1, "") for token in params.stop_token_ids if token in ids]
        end, which = min(ends, key=lambda e: e[0], default=(len(ids), None))
        room = max(min(params.max_tokens, self.info.context - used), 0)
        if end > room:
            return ids[:room], "length", None
        return ids[:end], "eos" if which is None else "stop", which or None

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        return [LOGPROB] * (len(ids) - start)

    async def close(self) -> None:
        pass
