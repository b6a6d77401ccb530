"""A backend that serves what another one once wrote, with its timing."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol

from reason.backends.base import Chunk, Info, Usage
from reason.backends.detokenize import Detokenizer, StopStrings
from reason.errors import BackendError, Unsupported
from reason.types import Contexts, Finish, Layout, Prompt, SamplingParams

CHUNK = 16
"""Tokens served at a time, after the first."""


class Codec(Protocol):
    """What turns prompts into token ids, and ids into text."""

    def encode(self, prompt: Prompt) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer of a model: a context, what it wrote there, and when."""

    ids: tuple[int, ...]
    finish: Finish = "eos"
    logprobs: tuple[float, ...] = ()
    """One per id, or none at all."""
    context: tuple[int, ...] = ()
    """Empty where it was not recorded: such an answer serves whatever is asked first."""
    wait: float = 0.0
    """Seconds from the request to the first token."""
    seconds: float = 0.0
    """Seconds from the request to the last token."""
    layout: Layout | None = None
    """Of contexts that it read side by side."""

    def rest(self, served: int) -> "Recorded":
        """What is left after so many tokens."""
        context = (*self.context, *self.ids[:served])
        wait, seconds = (t - self.due(served) for t in (self.due(served + 1), self.seconds))
        return replace(
            self, ids=self.ids[served:], logprobs=self.logprobs[served:], context=context,
            wait=wait, seconds=seconds,
        )  # fmt: skip

    def due(self, served: int) -> float:
        """Seconds from the request until so many tokens are there, the pace taken as even."""
        if not served:
            return 0.0
        if served >= len(self.ids):
            return self.seconds
        return self.wait + (self.seconds - self.wait) * (served - 1) / max(len(self.ids) - 1, 1)


class ReplayBackend:
    """Serves the recorded answers of one problem, each once, in the order given.

    A request is answered by a recorded answer to the same context; one that stops it early - by a
    stop string, a limit of tokens - may go on with the rest later. On a `VirtualLoop` the recorded
    timing takes no time. Raises BackendError for a request that nothing recorded answers.
    """

    def __init__(self, answers: Iterable[Recorded], codec: Codec, info: Info) -> None:
        self.info, self._codec = info, codec
        self._left: dict[bytes, list[Recorded]] = {}
        self._logprobs: dict[bytes, tuple[float, ...]] = {}
        self._total = 0
        for answer in answers:
            self._total += 1
            self._left.setdefault(_key(answer.context, answer.layout), []).append(answer)

    def encode(self, prompt: Prompt) -> list[int]:
        return self._codec.encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        return self._codec.decode(ids)

    def encode_contexts(self, prompt: Contexts) -> tuple[list[int], Layout]:
        encode = getattr(self._codec, "encode_contexts", None)
        if encode is None:
            raise Unsupported("what was recorded is of a model that reads no contexts side by side")
        found: tuple[list[int], Layout] = encode(prompt)
        return found

    def generate_parallel(
        self, ids: Sequence[int], layout: Layout, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        return self._serve(ids, layout, params)

    async def score_parallel(self, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
        return self._scored(ids, layout, start)

    def generate(self, ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Chunk, None]:
        return self._serve(ids, None, params)

    async def _serve(
        self, ids: Sequence[int], layout: Layout | None, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        answer = self._take(ids, layout)
        positions = len(ids) - (layout.shift if layout else 0)
        end, finish, stop = self._end(answer, params, positions)
        began, sent = asyncio.get_running_loop().time(), 0
        text = Detokenizer(self.decode)
        while True:
            upto = min(sent + CHUNK if sent else 1, end)
            due = began + answer.due(upto) - asyncio.get_running_loop().time()
            await asyncio.sleep(max(due, 0.0))
            piece = answer.ids[sent:upto]
            chunk = Chunk(text.push(piece, upto == end), piece, answer.logprobs[sent:upto])
            sent = upto
            if sent == end:
                break
            yield chunk
        if end < len(answer.ids):
            rest = replace(answer, context=tuple(ids), layout=layout).rest(end)
            self._left.setdefault(_key(rest.context, layout), []).insert(0, rest)
        self._logprobs[_key((*ids, *answer.ids[:end]), layout)] = answer.logprobs[:end]
        yield replace(chunk, finish=finish, stopped_at=stop, usage=Usage(len(ids)))

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        return self._scored(ids, None, start)

    def _scored(self, ids: Sequence[int], layout: Layout | None, start: int) -> list[float]:
        known = self._logprobs.get(_key(ids, layout), ())
        if not known or len(known) < len(ids) - start:
            raise Unsupported(
                f"no log-probabilities of these {len(ids) - start} tokens were recorded"
            )
        return list(known[len(known) - (len(ids) - start) :])

    async def close(self) -> None:
        pass

    def _take(self, ids: Sequence[int], layout: Layout | None) -> Recorded:
        for key in (_key(ids, layout), _key((), None)):
            if self._left.get(key):
                return self._left[key].pop(0)
        raise BackendError(
            f"the recording has no answer left to this request of {len(ids)} tokens: "
            + (
                f"all {self._total} that were recorded are used; ask for fewer chains"
                if not any(self._left.values())
                else f"{self._total} were recorded, none of them to this; replay the method that "
                "was recorded"
            )
        )

    def _end(
        self, answer: Recorded, params: SamplingParams, used: int
    ) -> tuple[int, Finish, str | None]:
        """How many tokens are served, why no more, and the stop string that it was."""
        ids = answer.ids
        room = max(min(params.max_tokens, self.info.context - used), 0)
        end, which = len(ids), None
        finish: Finish | None = None
        strings = StopStrings(params.stop, self.decode) if params.stop else None
        for place, token in enumerate(ids, 1):
            which = strings.push(token) if strings else None
            if which or token in params.stop_token_ids:
                end, finish = place, "stop"
                break
        if end > room:
            return room, "length", None
        if finish is None and answer.finish not in ("eos", "length", "budget"):
            raise BackendError(
                f"the recorded answer ends with {answer.finish!r} after {len(ids)} tokens, where "
                "this method would go on; replay the method that was recorded"
            )
        return end, finish or ("eos" if answer.finish == "eos" else "length"), which


def _key(ids: Sequence[int], layout: Layout | None) -> bytes:
    """A context in a few bytes, and how it is read."""
    read = repr(layout).encode() if layout else b""
    return blake2b(b"".join(i.to_bytes(4) for i in ids) + read, digest_size=16).digest()
