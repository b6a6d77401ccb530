"""What `reason serve` adds to the time to the first token of an SGLang server.

    python -m benchmarks.serve [--backend URL] [--clients 1 8] [--repeats 60] [--json]

The same streamed completion is asked of the SGLang server's own /v1/completions, of ours in front
of it, and of a proxy in front of it that only passes bytes on, by the same client, taking turns;
every request has a prompt of its own. Without --backend a server of a Qwen3 of random weights is
started, on the CPU. With servers and client on the same few cores any process in between delays the
others; what the plain proxy adds is that.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import aiohttp
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.model import make
from reason.backends.sglang_launch import ServerProcess

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("REASON_SGLANG_PYTHON", str(ROOT / ".venv-sglang" / "bin" / "python"))
SERVER = {"device": "cpu", "max_running_requests": "256", "max_total_tokens": "65536"}
TOKENS = 16


async def first_token(session: aiohttp.ClientSession, url: str, body: object) -> float:
    """Milliseconds from the request to the first event with something written in it."""
    began, found = perf_counter(), 0.0
    async with session.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if line.startswith(b"data: {") and not found:
                choice = (json.loads(line[6:])["choices"] or [{}])[0]
                if choice.get("text") or choice.get("reasoning_content"):
                    found = 1000 * (perf_counter() - began)
    return found


async def compare(
    targets: dict[str, tuple[str, str]], clients: int, repeats: int
) -> dict[str, list[float]]:
    """Times of each by name, of so many clients at once; a target is its address and model."""
    rng, found = random.Random(0), {name: list[float]() for name in targets}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for turn in range(repeats + 3):
            for name in rng.sample(list(targets), len(targets)):
                url, model = targets[name]
                asks = []
                for _ in range(clients):
                    numbers = " ".join(str(rng.randint(1, 60)) for _ in range(4))
                    body = {
                        "model": model,
                        "prompt": f"count with me: {numbers}",
                        "max_tokens": TOKENS,
                        "temperature": 0,
                        "stream": True,
                    }
                    asks.append(first_token(session, f"{url}/v1/completions", body))
                times = await asyncio.gather(*asks)
                if turn >= 3:  # the first ones warm up
                    found[name] += times
    return found


def served(backend: str) -> tuple["subprocess.Popen[str]", str]:
    """`reason serve` in front of that server, and its address."""
    spec = f"sglang://{backend.removeprefix('http://')}"
    return _started("reason.cli", "serve", "ours", "--port", "0", "--backend", spec)


def _started(*words: str) -> tuple["subprocess.Popen[str]", str]:
    """A module of Python that says where it listens."""
    command = [sys.executable, "-m", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split(" at ")[1].strip().removesuffix("/v1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--backend", default="", help="URL of an SGLang server that runs")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    server = None
    if not asked.backend:
        folder = tempfile.TemporaryDirectory(prefix="reason-")
        server = ServerProcess(str(make("tiny", Path(folder.name))), PYTHON, SERVER)
        server.wait(240, lambda _: None)
    peer = asked.backend or server.url  # type: ignore[union-attr]
    process, ours = served(peer)
    proxy, passing = _started("benchmarks.proxy", peer)
    targets = {"sglang": (peer, "any"), "proxy": (passing, "any"), "reason": (ours, "ours")}
    rows = []
    try:
        for clients in asked.clients:
            found = asyncio.run(compare(targets, clients, asked.repeats))
            theirs = found["sglang"]
            row: dict[str, float] = {"clients": clients, "sglang_ms": round(median(theirs), 1)}
            for name in ("proxy", "reason"):
                high = quantiles(found[name], n=10)[-1] - quantiles(theirs, n=10)[-1]
                row[f"{name}_adds_ms"] = round(median(found[name]) - median(theirs), 1)
                row[f"{name}_adds_p90_ms"] = round(high, 1)
            rows.append(row)
    finally:
        for each in (process, proxy):
            each.send_signal(signal.SIGTERM)
            each.wait()
        if server:
            server.stop()
    if asked.json:
        print(json.dumps(rows))
        return
    table = Table("clients", "SGLang, ms", "a proxy adds", "at p90", "reason serve adds", "at p90")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
