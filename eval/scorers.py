"""Scores of a finished thread, by the names under which methods ask the engine for them."""

import asyncio
from collections.abc import Mapping
from math import fsum, inf

from eval.item import Item
from reason.backends.base import Backend, Rater
from reason.engine import Scorer
from reason.errors import UsageError
from reason.types import Prompt, Thread

SCORERS = ("verifier", "likelihood")
"""Those of every problem."""


def likelihood(thread: Thread, answer: str | None) -> float:
    """Mean log-probability of the tokens the thread sampled itself; -inf if there are none."""
    logprobs = [p for s in thread.segments if s.origin == "sampled" for p in s.logprobs]
    return fsum(logprobs) / len(logprobs) if logprobs else -inf


def scorers_of(item: Item, models: Mapping[str, Backend] | None = None) -> Mapping[str, Scorer]:
    """All scorers for one problem: `verifier` is 1 for a correct answer and 0 for any other; each
    of the models that is a reward model is one under its role."""

    def verifier(thread: Thread, answer: str | None) -> float:
        return float(item.verify(answer))

    async def patient(thread: Thread, answer: str | None) -> float:
        return float(await asyncio.to_thread(item.verify, answer))

    own = {"verifier": patient if item.slow else verifier, "likelihood": likelihood}
    return {**own, **rewards(item.prompt, models or {})}


def raters(models: Mapping[str, Backend]) -> dict[str, Rater]:
    """The reward models by role. Raises UsageError for a role that means another scorer."""
    found: dict[str, Rater] = {
        role: model for role, model in models.items() if isinstance(model, Rater)
    }
    for role in found:
        if role in SCORERS:
            raise UsageError(
                f"backends.{role} is no role for a reward model: a scorer is called so"
            )
    return found


def rewards(prompt: Prompt, models: Mapping[str, Backend]) -> dict[str, Scorer]:
    """What each of the reward models thinks of a thread that was given this prompt.

    One that shares the thread's tokenizer reads its very tokens. Any other reads the prompt and
    what was written since, in a template of its own, for it knows nothing of the thread's.
    """

    def scorer(rater: Rater) -> Scorer:
        async def reward(thread: Thread, answer: str | None) -> float:
            model = models[thread.model]
            if model.info.tokenizer == rater.info.tokenizer:
                return await rater.rate(thread.ids)
            written = thread.ids[_asked(thread) :]
            if written and written[-1] in model.info.ends:
                written.pop()
            return await rater.rate(rater.conversation(prompt, model.decode(written)))

        return reward

    return {role: scorer(rater) for role, rater in raters(models).items()}


def _asked(thread: Thread) -> int:
    """How many tokens its prompt has."""
    while thread.kept and thread.parent:
        thread = thread.parent
    return sum(len(s.ids) for s in thread.segments[:1] if s.origin == "prompt")
