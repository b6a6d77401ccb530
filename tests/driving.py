"""Driving backends from tests: ask, join what comes back, compare with the library's own loop."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from reason.backends.base import Backend, Chunk
from reason.types import SamplingParams
from tests import tiny

T = TypeVar("T")

GREEDY = SamplingParams(temperature=0, max_tokens=40)


def prompt(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(tiny.WORDS), k=length)


def reference(model: torch.nn.Module, ids: list[int], tokens: int) -> list[int]:
    """Greedy continuation by the library's own loop, one sequence at a time."""
    at = torch.tensor([ids])
    out = model.generate(at, attention_mask=torch.ones_like(at), do_sample=False,
                         max_new_tokens=tokens, pad_token_id=0)  # fmt: skip
    return out[0, len(ids) :].tolist()


@dataclass(frozen=True)
class Whole:
    """All chunks of one request, joined."""

    text: str
    ids: list[int]
    logprobs: list[float]
    last: Chunk


async def collect(backend: Backend, ids: Sequence[int], params: SamplingParams) -> Whole:
    chunks = [chunk async for chunk in backend.generate(ids, params)]
    assert all(c.finish is None and c.usage is None for c in chunks[:-1])
    assert all(len(c.logprobs) == len(c.ids) for c in chunks)
    return Whole(
        "".join(c.text for c in chunks),
        [i for c in chunks for i in c.ids],
        [p for c in chunks for p in c.logprobs],
        chunks[-1],
    )


_runner = asyncio.Runner()


def run(work: Awaitable[T]) -> T:
    """In one loop for all, as a program would: connections to a server belong to a loop."""

    async def main() -> T:
        return await work

    return _runner.run(main())


def gather(backend: Backend, asks: Sequence[tuple[list[int], SamplingParams]]) -> list[Whole]:
    async def main() -> list[Whole]:
        return await asyncio.gather(*(collect(backend, ids, p) for ids, p in asks))

    return run(main())
