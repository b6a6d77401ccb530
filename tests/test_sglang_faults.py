"""What may happen to a server while we use it: death, a hang, overload, cancelled clients."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controllers.single import Single
from eval.command import resolve
from eval.runner import evaluate
from eval.samples import Sample
from eval.tasks import Countdown
from reason.backends.openai import OpenAIBackend
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_launch import ServerProcess
from reason.errors import BackendError
from reason.ledger import Budget
from reason.run import solve
from reason.types import SamplingParams
from tests.driving import collect, gather, run
from tests.serving import COUNTDOWN, processes, serving
from tests.test_sglang import quiet

SERIAL = "<bos> <seq> 77 31 52 73 94 ; 0 <go>"
LONG = SamplingParams(temperature=1.0, max_tokens=1500)
METHOD = Single(
    width=8, syntax="countdown", sampling=SamplingParams(temperature=0.0, max_tokens=120)
)


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    """A server as anyone might have started it, that may be stopped and takes few requests."""
    options = {
        "max_running_requests": "4",
        "max_queued_requests": "4",
        "incremental_streaming_output": "false",
    }
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:  # of this one, not of later ones
            environment.setenv("SGLANG_RETURN_ORIGINAL_LOGPROB", "0")
            server = stack.enter_context(serving(COUNTDOWN, **options))
        yield server


def server_of(process: ServerProcess) -> list[int]:
    """Every process of the server itself, without the guard."""
    return processes(process.pid)[1:]


def test_logprobs_after_temperature_are_warned_of(small: ServerProcess) -> None:
    with pytest.warns(UserWarning, match="logprobs after temperature") as caught:
        backend = SGLangBackend(small.url)
    assert len(caught) == 1 and small.url in str(caught[0].message)
    run(backend.close())
    with pytest.warns(UserWarning, match="logprobs after temperature"):
        run(OpenAIBackend(f"{small.url}/v1").close())


@pytest.mark.filterwarnings("ignore:.*logprobs after temperature")
def test_events_that_repeat_the_answer_are_read_once(
    small: ServerProcess, countdown_server: str
) -> None:
    whole, new = SGLangBackend(small.url), SGLangBackend(countdown_server)
    params = SamplingParams(temperature=0.0, max_tokens=200)
    ask = [(new.encode(SERIAL), params)]
    (one,), (other,) = gather(whole, ask), gather(new, ask)
    assert (one.ids, one.text, len(one.logprobs)) == (other.ids, other.text, 200)
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    run(whole.close())
    run(new.close())


@pytest.mark.filterwarnings("ignore:.*logprobs after temperature")
def test_overload_is_waited_for(small: ServerProcess) -> None:
    backend = SGLangBackend(small.url)
    asks = [(backend.encode(SERIAL), LONG.but(max_tokens=60, seed=n)) for n in range(40)]
    wholes = gather(backend, asks)
    assert all(whole.last.finish in ("length", "eos") for whole in wholes)
    impatient = SGLangBackend(small.url, patience=0)

    async def main() -> list[object]:
        tasks = (collect(impatient, ids, params) for ids, params in asks)
        return await asyncio.gather(*tasks, return_exceptions=True)

    refused = [result for result in run(main()) if isinstance(result, BaseException)]
    assert 0 < len(refused) < 40
    for error in refused:
        assert isinstance(error, BackendError)
        assert small.url in str(error) and "queue is full" in str(error)
    assert run(quiet(small.url)) == 0
    run(backend.close())
    run(impatient.close())


@pytest.mark.filterwarnings("ignore:.*logprobs after temperature")
def test_a_hanging_server_is_given_up(small: ServerProcess) -> None:
    backend = SGLangBackend(small.url, timeout=2.0)
    ids = backend.encode(SERIAL)
    members = server_of(small)
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(BackendError, match=rf"{small.url}/generate sent nothing for 2 s"):
            run(collect(backend, ids, LONG))
        assert 2 <= time.monotonic() - begun < 10
        found = run(
            solve(METHOD, "77 31 52 73 94", {"policy": backend}, budget=Budget(seconds=1.0))
        )
        assert found.limit == "seconds" and found.result is None
    finally:
        for pid in members:
            os.kill(pid, signal.SIGCONT)
    assert run(collect(backend, ids, LONG.but(max_tokens=3))).last.finish == "length"
    assert run(quiet(small.url)) == 0
    run(backend.close())


def test_a_sweep_survives_the_death_of_its_server(tmp_path: Path) -> None:
    items = list(Countdown(3).items(96, 1, "countdown"))
    budget = Budget()
    with serving(COUNTDOWN) as server:
        backend = SGLangBackend(server.url, patience=5.0)
        config = resolve("countdown3", 1, METHOD, "single", {"policy": backend}, budget, 96, 0)
        done = 0

        def on_row(row: Sample, new: bool) -> None:
            nonlocal done
            done += new and not row.failed
            if done == 10:
                for pid in server_of(server):
                    os.kill(pid, signal.SIGKILL)

        def attempt() -> object:
            backends = {"policy": backend}
            return run(
                evaluate(
                    METHOD, items, backends, tmp_path,
                    config=config, concurrency=64, on_row=on_row,
                )
            )  # fmt: skip

        with pytest.raises(BackendError, match="goes on from there") as caught:
            attempt()
        assert server.url in str(caught.value)
        before = [json.loads(line) for line in (tmp_path / "samples.jsonl").open()]
        kept = {row["id"] for row in before if not row["failed"]}
        assert 10 <= len(kept) < 96
    with serving(COUNTDOWN, port=server.port):
        done = 11
        attempt()
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").open()]
    assert sorted(row["id"] for row in rows) == sorted(item.id for item in items)
    assert not any(row["failed"] for row in rows)
    assert [row for row in before if not row["failed"]] == [r for r in rows if r["id"] in kept]
    run(backend.close())


async def hectic(url: str, seconds: float, seed: int) -> tuple[int, int]:
    """Two clients that cancel at random: requests that were cancelled, and that ended."""
    rng, until = random.Random(seed), time.monotonic() + seconds
    clients = [SGLangBackend(url, patience=120.0) for _ in range(2)]
    stopped = ended = 0

    async def one(client: SGLangBackend) -> None:
        nonlocal stopped, ended
        ids = client.encode(SERIAL)
        while time.monotonic() < until:
            params = LONG.but(max_tokens=rng.choice((5, 900)))
            task = asyncio.create_task(collect(client, ids, params))
            await asyncio.sleep(rng.choice((0, 0.01, 0.3)))
            if rng.random() < 0.7:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            stopped, ended = stopped + task.cancelled(), ended + (not task.cancelled())
            if not task.cancelled():
                assert task.exception() is None

    await asyncio.gather(*(one(client) for client in clients for _ in range(8)))
    assert [client.running for client in clients] == [0, 0]
    assert await quiet(url) == 0
    for client in clients:
        await client.close()
    return stopped, ended


@pytest.mark.parametrize(
    "seconds", [10, pytest.param(300, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_cancelling_at_random_leaves_nothing_on_the_server(
    countdown_server: str, seconds: float
) -> None:
    stopped, ended = run(hectic(countdown_server, seconds, 0))
    assert stopped > 10 and ended > 5
