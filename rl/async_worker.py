"""Rollouts that run ahead of the trainer: TRL's rollout worker over any method of ours.

TRL 1.16, trl/experimental/async_grpo: a worker fills a queue with samples, the trainer drains it
and drops what is too old. Here a sample is a request; all requests of a rollout have its advantage.
"""

import asyncio
import queue
import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean, pstdev
from time import monotonic
from typing import Any

import numpy as np

from reason.errors import BackendError, TrainingError, UsageError
from rl.figures import facts_of, means
from rl.requests import Request
from rl.rewards import Reward
from rl.rollouts import Rollout, Rollouts

FULL = 0.2
"""Seconds between looks at a queue that is full."""


class RolloutWorker:
    """Groups of rollouts of the same problem, in an event loop and a thread of its own.

    `ahead` groups run at a time, and `most` samples wait for the trainer: then generation waits,
    too. A rollout in which a model failed is no part of its group. Advantages are centred on the
    group, and with `scale` divided by its deviation; a group of which all are worth the same
    teaches nothing and is not sent, but counted.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        rewards: Mapping[str, tuple[Reward, float]],
        *,
        group: int,
        ahead: int,
        most: int = 1024,
        scale: bool = False,
        seed: int | str = 0,
    ) -> None:
        for name, value, least in (("group", group, 2), ("ahead", ahead, 1), ("most", most, 1)):
            if value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}")
        self.rollout_buffer: queue.Queue[Any] = queue.Queue(most)
        self.metrics_queue: queue.Queue[dict[str, float]] = queue.Queue()
        self._rollouts, self._rewards = rollouts, rewards
        self._group, self._ahead, self._scale, self._seed = group, ahead, scale, seed
        self._version = 0
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._heard = monotonic()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)

    def start(self) -> None:
        """Begin. TRL calls it once the servers have the first weights."""
        self._heard = monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End, whatever is under way."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=60)

    def update_model_version(self, model_version: int) -> None:
        """The weights that rollouts are sampled from, from now on."""
        self._version = model_version

    def check_health(self, stale_after_s: float) -> None:
        """Raise TrainingError if nothing comes any more, with the reason if it is known."""
        if self._failure is not None:
            raise TrainingError(f"rollouts ended with: {self._failure}") from self._failure
        silent = monotonic() - self._heard
        if silent > stale_after_s:
            raise TrainingError(
                f"no rollout came for {silent:.0f} s, expected one within {stale_after_s:g}: does "
                "the model's server answer?"
            )

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # the trainer's thread raises it
            self._failure = error

    async def _work(self) -> None:
        left = self._problems()
        running: set[asyncio.Task[None]] = set()
        try:
            while not self._over.is_set():
                while len(running) < self._ahead:
                    number, item = next(left)
                    running.add(asyncio.create_task(self._one(number, item.prompt)))
                done, running = await asyncio.wait(
                    running, timeout=FULL, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _problems(self) -> Any:
        """(group, problem), every problem once before any comes again, in a seeded order."""
        number = 0
        while True:
            items = list(self._rollouts.items)
            random.Random(f"{self._seed}/{number}").shuffle(items)
            for item in items:
                yield number, item
                number += 1

    async def _one(self, number: int, prompt: Any) -> None:
        version = self._version
        found = await self._rollouts.gather([prompt] * self._group, f"{self._seed}/group {number}")
        self._heard = monotonic()
        kept = [rollout for rollout in found if not rollout.failed and rollout.requests]
        worth = [self._worth(rollout) for rollout in kept]
        advantages = centred(worth, self._scale)
        self.metrics_queue.put(self._figures(found, worth, advantages))
        for rollout, advantage in zip(kept, advantages, strict=True):
            if advantage:
                for request in rollout.requests:
                    await self._put(request, advantage, version, number, rollout)

    def _worth(self, rollout: Rollout) -> float:
        return sum(weight * reward(rollout) for reward, weight in self._rewards.values())

    def _figures(
        self, found: Sequence[Rollout], worth: Sequence[float], advantages: Sequence[float]
    ) -> dict[str, float]:
        return {
            **means([facts_of(rollout) for rollout in found]),
            "reward": fmean(worth) if worth else float("nan"),
            "rollout/tied": float(not any(advantages)),
        }

    async def _put(
        self, request: Request, advantage: float, version: int, group: int, rollout: Rollout
    ) -> None:
        sample = sample_of(request, advantage, version, group, rollout)
        while not self._over.is_set():
            with suppress(queue.Full):
                self.rollout_buffer.put_nowait(sample)
                return
            self._heard = monotonic()  # it is the trainer who is waited for
            await asyncio.sleep(FULL)


def centred(worth: Sequence[float], scale: bool) -> list[float]:
    """Advantages of a group: zero where all are worth the same, or where there is but one."""
    if len(worth) < 2 or max(worth) == min(worth):
        return [0.0] * len(worth)
    mean, deviation = fmean(worth), pstdev(worth) if scale else 1.0
    return [(value - mean) / deviation for value in worth]


def sample_of(
    request: Request, advantage: float, version: int, group: int, rollout: Rollout
) -> Any:
    """What TRL trains on: ids, which of them were sampled, and how likely they were then.

    Raises BackendError for a request of which no log-probabilities are known.
    """
    from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

    if not request.logprobs:
        raise BackendError(
            f"thread {request.thread} came without log-probabilities, which off-policy training "
            "needs: sglang:// and hf: backends give them"
        )
    before = len(request.context)
    ids = np.array([*request.context, *request.sampled], np.int64)
    mask = np.concatenate([np.zeros(before, np.int64), np.ones(len(request.sampled), np.int64)])
    old = np.concatenate([np.zeros(before, np.float32), np.array(request.logprobs, np.float32)])
    return RolloutSample(
        prompt=[{"role": "user", "content": rollout.item.title}],
        completion=[{"role": "assistant", "content": ""}],
        input_ids=ids,
        completion_mask=mask,
        old_log_probs=old,
        advantage=advantage,
        model_version=version if request.version is None else request.version,
        group_id=group,
        metrics={"correct": float(rollout.correct)},
    )
