"""A model that is asked about a chain, and asked again where its answer cannot be used."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from reason.backends.base import Backend
from reason.engine import Engine
from reason.errors import BackendError
from reason.run import solve
from reason.types import Message, Prompt, Result, SamplingParams
from rl.traced.unusable import Unusable

T = TypeVar("T")
SHOWN = 4_000
"""Most characters of an answer that cannot be used that the teacher is shown again."""


@dataclass(frozen=True)
class Asking:
    """One question, one answer, in no other words than its own: the method the teacher runs."""

    name: ClassVar[str] = "asking"
    sampling: SamplingParams

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        thread = engine.open(prompt)
        turn = await engine.generate(thread, self.sampling)
        return Result(turn.text, thread.id, {"finish": turn.finish})


@dataclass
class Spent:
    """What the teacher was asked, in requests and tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0


class Teacher:
    """Any backend, with at most `concurrency` requests at once.

    What is sampled depends on the seed and the place of the question, not on what runs beside it.
    """

    def __init__(
        self, backend: Backend, sampling: SamplingParams, tries: int, seed: int, concurrency: int
    ) -> None:
        self.backend, self.sampling, self.tries, self.seed = backend, sampling, tries, seed
        self._free = asyncio.Semaphore(concurrency)

    async def ask(self, question: str, read: Callable[[str], T], place: str, spent: Spent) -> T:
        """The first of `tries` answers that `read` takes, each after being told what was wrong.

        `place` tells the question from all others. Raises Unusable, as `read` does, for the last
        one, and BackendError where the model fails.
        """
        chat = [Message(role="user", content=question)]
        for number in range(1, self.tries + 1):
            answer, cut = await self._answer(chat, f"{place}/{number}", spent)
            try:
                if cut:
                    raise Unusable("cut off", f"no end after {self.sampling.max_tokens} tokens")
                return read(answer)
            except Unusable as error:
                if number == self.tries:
                    raise
                complaint = f"That cannot be used: {error}. Give the whole answer again."
                chat[1:] = [
                    Message(role="assistant", content=answer[-SHOWN:] or "…"),
                    Message(role="user", content=complaint),
                ]
        raise AssertionError("tries is 1 or more")

    async def _answer(self, chat: list[Message], place: str, spent: Spent) -> tuple[str, bool]:
        """What is said behind the thinking, and whether it was cut off."""
        async with self._free:
            run = await solve(
                Asking(self.sampling), chat, {"policy": self.backend}, seed=f"{self.seed}/{place}"
            )
        spent.requests += 1
        spent.prompt_tokens += run.ledger.prompt_tokens
        spent.sampled_tokens += run.ledger.total_tokens
        if run.failure:
            raise run.failure
        if run.result is None or run.result.answer is None:
            raise BackendError(f"the teacher gave no answer: {run.error}")
        said = run.result.answer.rpartition("</think>")[2].strip()
        return said, run.result.extra["finish"] == "length"


def inside(answer: str, tag: str) -> str:
    """What stands between `<tag>` and `</tag>` in an answer. Raises Unusable unless that is there
    once."""
    before, opened, rest = answer.partition(f"<{tag}>")
    found, closed, after = rest.partition(f"</{tag}>")
    if not (opened and closed):
        raise Unusable("unparsable", f"expected <{tag}> and </{tag}> around the answer")
    if any(mark in text for mark in (f"<{tag}>", f"</{tag}>") for text in (before, found, after)):
        raise Unusable("unparsable", f"expected <{tag}> once, got it several times")
    return found
