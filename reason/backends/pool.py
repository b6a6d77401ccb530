"""Several servers of one model: a thread tree keeps to one, whose cache then serves it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from reason.backends.base import Backend, Chunk, Info
from reason.errors import UsageError
from reason.types import Prompt, SamplingParams


class Pool:
    """A `Backend` of several; `worker` gives the one that the next tree is to use."""

    def __init__(self, workers: Sequence[Backend]) -> None:
        """Raises UsageError unless all serve one model with one tokenizer."""
        first = workers[0].info
        for worker in workers[1:]:
            for key in ("model", "tokenizer", "vocabulary", "context", "reproducible"):
                here, there = getattr(first, key), getattr(worker.info, key)
                if here != there:
                    raise UsageError(
                        f"the servers of a pool must be alike, but {key} is {here} and {there}"
                    )
        self.workers = tuple(workers)
        self._trees = [0] * len(workers)

    def worker(self) -> Backend:
        """The worker that was given the fewest trees so far."""
        index = min(range(len(self.workers)), key=self._trees.__getitem__)
        self._trees[index] += 1
        return self.workers[index]

    @property
    def info(self) -> Info:
        return self.workers[0].info

    def encode(self, prompt: Prompt) -> list[int]:
        return self.workers[0].encode(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        return self.workers[0].decode(ids)

    def generate(self, ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Chunk, None]:
        return self.worker().generate(ids, params)

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        return await self.worker().score(ids, start)

    async def close(self) -> None:
        ends = (worker.close() for worker in self.workers)
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if error is not None:
                raise error
