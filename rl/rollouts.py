"""Rollouts: a method run on problems, and the requests that its model is trained on."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from controllers.question import question_id
from eval.item import Item
from eval.scorers import scorers_of
from reason.backends.base import Backend
from reason.errors import BackendError, UsageError
from reason.journal import Sink
from reason.ledger import Budget
from reason.run import Controller, Trajectory, nested, solve
from reason.types import Prompt, SamplingParams
from rl.requests import Request, line_of, requests_of
from rl.tree_options import Trained


@dataclass(frozen=True, eq=False)
class Rollout:
    """One run of a method on one problem."""

    item: Item
    run: Trajectory
    role: str = "policy"
    """Whose requests are trained on."""
    trained: Trained = "all"
    """Which of them, as TreeOptions.trained has it."""

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """What that model was asked, with a sampled token each; none if it never came to that."""
        found = tuple(requests_of(self.run.tree, self.role))
        if self.trained == "all" or not found:
            return found
        line = set(line_of(self.run.tree, found[-1].thread))
        return tuple(request for request in found if request.thread in line)

    @cached_property
    def correct(self) -> bool:
        """Whether the answer is right. A run without a result is wrong."""
        return self.run.result is not None and self.item.verify(self.run.result.answer)

    @property
    def sampled(self) -> int:
        """Tokens that are trained on."""
        return sum(len(request.sampled) for request in self.requests)

    @property
    def failed(self) -> bool:
        """Whether a model failed in it: it says nothing of the policy."""
        return isinstance(self.run.failure, BackendError) or any(
            thread.finish == "error" for thread in self.run.tree
        )


class Rollouts:
    """Runs a method on problems by their prompts, in an event loop of its own.

    Any method is a rollout. It must sample as the trainer computes: at temperature 1, from the
    whole distribution. Raises UsageError for a method that samples otherwise, and for two problems
    with the same prompt.
    """

    def __init__(
        self,
        method: Controller,
        backends: Mapping[str, Backend],
        items: Iterable[Item],
        *,
        budget: Budget | None = None,
        role: str = "policy",
        trained: Trained = "all",
        alternate: Controller | None = None,
        concurrency: int = 64,
        tries: int = 2,
    ) -> None:
        for each in (method, *([alternate] if alternate else [])):
            check_sampling(each)
        if concurrency < 1:
            raise UsageError(f"concurrency must be 1 or more, got {concurrency}")
        if tries < 1:
            raise UsageError(f"tries must be 1 or more, got {tries}")
        self.method, self.backends, self.budget, self.role = method, backends, budget, role
        self.trained, self.alternate = trained, alternate
        self.watch: Callable[[Item], Sink | None] = lambda item: None
        """Gives the first rollout of a batch a sink for its events."""
        self.tries = tries
        """How often a problem is put to a model that fails."""
        self.retried = 0
        """Runs that were done again since a model failed."""
        self._concurrency = concurrency
        self._items: dict[str, Item] = {}
        for item in items:
            other = self._items.setdefault(question_id(item.prompt), item)
            if other is not item:
                raise UsageError(f"the problems {other.id} and {item.id} have the same prompt")
        self._runner = asyncio.Runner()

    @property
    def items(self) -> Sequence[Item]:
        """The problems."""
        return [*self._items.values()]

    def run(
        self, prompts: Sequence[Prompt], seed: int | str, alternate: Sequence[bool] = ()
    ) -> list[Rollout]:
        """One rollout for each prompt, also where it comes several times; by the other method where
        `alternate` says so.

        Raises UsageError for a prompt that is none of the problems', and for what would be wrong
        in every run.
        """
        return self._runner.run(self.gather(prompts, seed, alternate))

    def do(self, work: Any) -> Any:
        """Await something in the loop in which the backends live."""
        return self._runner.run(work)

    def close(self) -> None:
        """End the loop; the backends stay."""
        self._runner.close()

    async def gather(
        self, prompts: Sequence[Prompt], seed: int | str, alternate: Sequence[bool] = ()
    ) -> list[Rollout]:
        """`run`, in an event loop that there is."""
        unknown = [prompt for prompt in prompts if question_id(prompt) not in self._items]
        if unknown:
            raise UsageError(f"no problem has the prompt {unknown[0]!r}")
        seats = asyncio.Semaphore(self._concurrency)

        async def one(place: int, prompt: Prompt) -> Rollout:
            other = self.alternate if alternate and alternate[place] else None
            item = self._items[question_id(prompt)]
            async with seats:
                sink = None if place else self.watch(item)
                return await self._one(other or self.method, item, f"{seed}/{place}", sink)

        return await asyncio.gather(*(one(*pair) for pair in enumerate(prompts)))

    async def _one(self, method: Controller, item: Item, seed: str, sink: Sink | None) -> Rollout:
        for attempt in range(self.tries):
            run = await solve(
                method,
                item.prompt,
                self.backends,
                budget=self.budget,
                sinks=[sink] if sink and not attempt else [],
                scorers=dict(scorers_of(item, self.backends)),
                seed=f"{seed}/{attempt}" if attempt else seed,
            )
            if isinstance(run.failure, UsageError):
                raise run.failure
            rollout = Rollout(item, run, self.role, self.trained)
            if not rollout.failed:
                return rollout
            self.retried += attempt + 1 < self.tries
        return rollout


def check_sampling(method: Controller) -> None:
    """Raise UsageError if a method, or one inside it, does not sample from the model itself.

    The engine records log-probabilities at temperature 1 over the whole vocabulary. Of tokens drawn
    from anything else they are not those of the sampler, and the update would be off-policy.
    """
    for at, each in nested(method):
        for name in each.__dataclass_fields__:
            sampling = getattr(each, name)
            if not isinstance(sampling, SamplingParams):
                continue
            plain = SamplingParams(temperature=1.0)
            wrong = {
                f"{at}{name}.{key}": (getattr(sampling, key), getattr(plain, key))
                for key in ("temperature", "top_p", "top_k", "min_p")
                if getattr(sampling, key) != getattr(plain, key)
            }
            if wrong:
                told = ", ".join(
                    f"{key}={has:g}, not {must:g}" for key, (has, must) in wrong.items()
                )
                give = " ".join(f"{key}={must:g}" for key, (_, must) in wrong.items())
                raise UsageError(
                    f"rollouts must be sampled as they are trained on: {told}; give {give}"
                )
