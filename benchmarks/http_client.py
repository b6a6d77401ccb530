"""Which HTTP client can follow 1,000 streams at once: aiohttp against httpx.

    python -m benchmarks.http_client [--streams 1000] [--events 64]

A server in a process of its own sends events as SGLang does; each client reads all streams at the
same time and parses every event. Interleaved repeats; the client's CPU time per event counts.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import AsyncIterator
from statistics import median

import aiohttp
import httpx
from aiohttp import web

EVENT = json.dumps(
    {
        "text": "",
        "output_ids": [29],
        "meta_info": {
            "id": "0" * 32,
            "finish_reason": None,
            "prompt_tokens": 10,
            "weight_version": "default",
            "output_token_logprobs": [[-0.7322013974189758, 29, None]],
            "completion_tokens": 1,
            "cached_tokens": 0,
        },
    }
).encode()


def serve(port: "multiprocessing.Queue[int]") -> None:
    """Send `events` events on every connection, a pause after each, as decoding steps come."""

    async def stream(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(body["events"]):
            await response.write(b"data: " + EVENT + b"\n\n")
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/generate", stream)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


async def with_aiohttp(url: str, events: int, streams: int) -> int:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> int:
            seen = 0
            async with session.post(url, json={"events": events}) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        seen += len(json.loads(line[6:])["output_ids"])
            return seen

        return sum(await asyncio.gather(*(one() for _ in range(streams))))


async def with_httpx(url: str, events: int, streams: int) -> int:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:

        async def one() -> int:
            seen = 0
            async with client.stream("POST", url, json={"events": events}) as response:
                lines: AsyncIterator[str] = response.aiter_lines()
                async for line in lines:
                    if line.startswith("data: {"):
                        seen += len(json.loads(line[6:])["output_ids"])
            return seen

        return sum(await asyncio.gather(*(one() for _ in range(streams))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--events", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue[int] = context.Queue()
    server = context.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get(timeout=30)}/generate"
    clients = {"aiohttp": with_aiohttp, "httpx": with_httpx}
    costs: dict[str, list[float]] = {name: [] for name in clients}
    walls: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(options.repeats):
        for name, client in clients.items():
            cpu, wall = time.process_time(), time.perf_counter()
            seen = asyncio.run(client(url, options.events, options.streams))
            assert seen == options.streams * options.events
            costs[name].append((time.process_time() - cpu) / seen * 1e6)
            walls[name].append(time.perf_counter() - wall)
    server.terminate()
    server.join()
    for name in clients:
        print(
            f"{name}: {median(costs[name]):.0f} us of client CPU per event, "
            f"{median(walls[name]):.1f} s for {options.streams} streams of {options.events}"
        )
    print(f"httpx / aiohttp: {median(costs['httpx']) / median(costs['aiohttp']):.2f}")


if __name__ == "__main__":
    main()
