"""The shipped model under random cancellation, and evaluations killed again and again."""

import asyncio
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from eval.scorers import scorers_of
from eval.tasks import Countdown
from reason.backends.connect import connect
from reason.backends.hf import HFBackend
from reason.engine import Engine
from reason.run import Controller, solve
from reason.types import SamplingParams
from tests.test_shipped import evaluation, rows

WARM = SamplingParams(temperature=1.0, max_tokens=512)


async def stress(model: HFBackend, seconds: float, seed: int) -> tuple[int, int]:
    """Runs that were stopped, and that ended by themselves, in so many seconds."""
    rng, stopped, ended = random.Random(seed), 0, 0
    items = list(Countdown(4).items(200, seed, "countdown"))
    until = time.monotonic() + seconds

    async def client() -> None:
        nonlocal stopped, ended
        while time.monotonic() < until:
            method: Controller = rng.choice(
                [
                    AdaptiveParallel(syntax="countdown"),
                    BestOfN(4, "likelihood", syntax="countdown", sampling=WARM),
                ]
            )
            engines: list[Engine] = []
            item = rng.choice(items)
            run = solve(
                method,
                item.prompt,
                {"policy": model},
                scorers=scorers_of(item),
                steer=engines.append,
            )
            task = asyncio.create_task(run)
            await asyncio.sleep(rng.uniform(0, 0.5))
            if rng.random() < 0.5 and engines and len(engines[0].tree):
                engines[0].cancel(rng.choice(list(engines[0].tree)))
            if rng.random() < 0.5:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if engines:  # else it was stopped before it began
                assert all(thread.finish for thread in engines[0].tree)
            stopped, ended = stopped + task.cancelled(), ended + (not task.cancelled())
            if not task.cancelled():
                error = task.result().error
                assert error is None or "was cancelled" in error

    await asyncio.gather(*(client() for _ in range(8)))
    for _ in range(200):  # a cancelled request leaves at the next step
        if not model.running:
            break
        await asyncio.sleep(0.01)
    return stopped, ended


@pytest.mark.parametrize(
    "seconds", [5, pytest.param(300, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_stopping_at_random_leaves_nothing_running(seconds: float) -> None:
    model = connect("")
    assert isinstance(model, HFBackend)
    try:
        stopped, ended = asyncio.run(stress(model, seconds, 0))
        assert stopped >= 3 and ended >= 3
        assert model.running == 0
    finally:
        asyncio.run(model.close())


@pytest.mark.soak
def test_killed_again_and_again_an_evaluation_ends_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    subprocess.run(evaluation(whole), check=True, stdout=subprocess.DEVNULL)
    rng = random.Random(0)
    for attempt in range(10):
        out = tmp_path / f"killed-{attempt}"
        for _ in range(3):
            process = subprocess.Popen(evaluation(out), stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.5, 12))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(evaluation(out), check=True, stdout=subprocess.DEVNULL)
        assert rows(out).keys() == rows(whole).keys()
        assert abs(sum(rows(out).values()) - sum(rows(whole).values())) <= 1
