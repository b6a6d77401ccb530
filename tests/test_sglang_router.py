"""Two workers behind sglang-router, as on more than one machine."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from controllers.apr import AdaptiveParallel
from eval.tasks import Countdown
from reason.backends.connect import connect
from reason.backends.pool import Pool
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_launch import free_port
from reason.engine import Engine
from reason.run import solve
from reason.types import SamplingParams
from tests.driving import collect, run
from tests.serving import COUNTDOWN, PYTHON, serving
from tests.test_sglang import quiet

APR = AdaptiveParallel(
    syntax="countdown", sampling=SamplingParams(temperature=0.0, max_tokens=1024)
)
SERIAL = "<bos> <seq> 77 31 52 73 94 ; 0 <go>"


@dataclass(frozen=True)
class Routed:
    url: str
    workers: tuple[str, str]


def ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/get_model_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def routed(countdown_server: str) -> Iterator[Routed]:
    with serving(COUNTDOWN) as second:
        workers, port = (countdown_server, second.url), free_port()
        command = [PYTHON, "-m", "sglang_router.launch_router", "--worker-urls", *workers]
        command += ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware"]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
        router = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 120
            while not ready(url) and time.monotonic() < until:
                assert router.poll() is None, "the router died"
                time.sleep(0.2)
            yield Routed(url, workers)
        finally:
            router.terminate()
            router.wait()


def test_problems_end_to_end(routed: Routed) -> None:
    backend = connect(f"sglang:{routed.url}")
    items = list(Countdown(3).items(12, 3, "countdown"))

    async def main() -> list[bool]:
        runs = await asyncio.gather(*(solve(APR, i.prompt, {"policy": backend}) for i in items))
        return [
            item.verify(found.result.answer if found.result else None)
            for item, found in zip(items, runs, strict=True)
        ]

    assert sum(run(main())) >= 10
    run(backend.close())


def test_a_request_that_is_given_up_leaves_its_worker(routed: Routed) -> None:
    backend = SGLangBackend(routed.url)

    async def main() -> None:
        params = SamplingParams(max_tokens=1500)
        tasks = [
            asyncio.create_task(collect(backend, backend.encode(SERIAL), params)) for _ in range(8)
        ]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())
    assert [run(quiet(url, 30)) for url in routed.workers] == [0, 0]
    run(backend.close())


def test_a_list_of_urls_is_a_pool_whose_trees_keep_to_a_worker(routed: Routed) -> None:
    backend = connect("sglang://" + ",".join(url.removeprefix("http://") for url in routed.workers))
    assert isinstance(backend, Pool)
    items = list(Countdown(3).items(4, 9, "countdown"))
    engines: list[Engine] = []
    for item in items:
        found = run(solve(APR, item.prompt, {"policy": backend}, steer=engines.append))
        assert found.error is None and found.ledger.cached_tokens > 0
    used = [engine.backends["policy"] for engine in engines]
    assert used == [*backend.workers, *backend.workers]
    run(backend.close())
