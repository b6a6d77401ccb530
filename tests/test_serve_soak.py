"""Many streaming clients at once, of whom a third vanish: nothing is lost, nothing left behind."""

import asyncio
import random
import subprocess
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest

from tests.served import serving_command
from tests.test_serve_sglang import seconds_until_idle

CLIENTS = 200
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("chatter", {}),
    ("chatter", {}),
    ("chatter+self_consistency", {"n": 2}),
    ("chatter+apr", {}),
]


async def one(client: openai.AsyncOpenAI, rng: random.Random, counts: Counter[str]) -> None:
    """A request, read to its end, or left after some of it."""
    model, own = rng.choice(METHODS)
    most, leaves = rng.randint(4, 16), rng.random() < 1 / 3
    told, finish, usage, seen = 0, None, None, 0
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": f"the quick {rng.random()}"}],
        max_completion_tokens=most,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"reason": own},
    )
    stays = rng.randint(0, 4)
    async with stream:
        async for chunk in stream:
            seen += 1
            if leaves and seen > stays:
                counts["left"] += 1
                return
            for choice in chunk.choices:
                told += bool(choice.delta.content or getattr(choice.delta, "reasoning_content", 0))
                finish = choice.finish_reason or finish
            usage = chunk.usage or usage
    assert finish in ("stop", "length") and usage is not None
    threads = usage.to_dict()["reason"]["peak_threads"]
    assert usage.completion_tokens <= most * threads, "exact for one; a chunk too many for each"
    assert told or usage.completion_tokens <= 1
    counts["read"] += 1


async def load(url: str, seconds: float, counts: Counter[str]) -> None:
    async with AsyncExitStack() as stack:
        made = [  # not one for each: making one takes as long as some requests
            await stack.enter_async_context(
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=300)
            )
            for _ in range(4)
        ]
        until = time.monotonic() + seconds

        async def client(number: int) -> None:
            rng = random.Random(number)
            asked = 0
            while not asked or time.monotonic() < until:
                asked += 1
                counts["asked"] += 1
                await one(made[number % len(made)], rng, counts)

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))


def figures(url: str) -> dict[str, float]:
    """What the server counts."""
    with urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {k: float(v) for k, _, v in (x.rpartition(" ") for x in lines if x[0] != "#")}


def held(process: "subprocess.Popen[str]") -> tuple[int, float]:
    """Open files, and megabytes of memory."""
    place = Path(f"/proc/{process.pid}")
    pages = int((place / "statm").read_text().split()[1])
    return len(list((place / "fd").iterdir())), pages * 4096 / 2**20


@pytest.mark.parametrize(
    "seconds", [8, pytest.param(60, marks=pytest.mark.soak)], ids=["short", "long"]
)
async def test_two_hundred_clients(seconds: float, chatter_server: str) -> None:
    words = ("-b", chatter_server.replace("http", "sglang"))
    with serving_command("chatter", *words) as (url, process):
        await load(url, 0.0, Counter())  # connections to the model, and what is made once
        await asyncio.to_thread(seconds_until_idle, chatter_server)
        before, (files, memory) = figures(url), held(process)
        counts: Counter[str] = Counter()
        began = time.monotonic()
        await load(url, seconds, counts)
        took = time.monotonic() - began
        assert await asyncio.to_thread(seconds_until_idle, chatter_server) < 1.0
        for _ in range(50):
            after = figures(url)
            if not after["reason_requests_in_flight"]:
                break
            await asyncio.sleep(0.02)
        assert (after["reason_requests_in_flight"], after["reason_threads_writing"]) == (0, 0)
        assert counts["asked"] == counts["read"] + counts["left"]
        assert counts["read"] > CLIENTS / 2 and counts["left"] > CLIENTS / 8
        ended = {
            name: after[name] - before.get(name, 0)
            for name in after
            if name.startswith("reason_requests_total")
        }
        assert sum(ended.values()) == counts["asked"]
        assert {n.partition('status="')[2][:3] for n, v in ended.items() if v} == {"200", "499"}
        more_files, more_memory = held(process)
        assert more_files <= files + 5 and more_memory < memory + 60
        print(f"{counts} in {took:.1f} s; {more_memory - memory:.0f} MB more")
