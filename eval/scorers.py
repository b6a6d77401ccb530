"""Scores of a finished thread, by the names under which methods ask the engine for them."""

import asyncio
from collections.abc import Mapping
from math import fsum, inf

from eval.item import Item
from reason.engine import Scorer
from reason.types import Thread

SCORERS = ("verifier", "likelihood")
"""Those of every problem."""


def likelihood(thread: Thread, answer: str | None) -> float:
    """Mean log-probability of the tokens the thread sampled itself; -inf if there are none."""
    logprobs = [p for s in thread.segments if s.origin == "sampled" for p in s.logprobs]
    return fsum(logprobs) / len(logprobs) if logprobs else -inf


def scorers_of(item: Item) -> Mapping[str, Scorer]:
    """All scorers for one problem: `verifier` is 1 for a correct answer and 0 for any other."""

    def verifier(thread: Thread, answer: str | None) -> float:
        return float(item.verify(answer))

    async def patient(thread: Thread, answer: str | None) -> float:
        return float(await asyncio.to_thread(item.verify, answer))

    return {"verifier": patient if item.slow else verifier, "likelihood": likelihood}
