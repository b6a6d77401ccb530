"""What `reason serve` adds to the time to the first token of an SGLang server.

    python -m benchmarks.serve [--backend URL] [--clients 1 8] [--repeats 60] [--json]

The same streamed completion is asked of the SGLang server's own /v1/completions and of ours in
front of it, by the same client, taking turns; every request has a prompt of its own. Without
--backend a server of a Qwen3 of random weights is started, on the CPU. With servers and client on
the same few cores the difference is a pessimistic one.
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


async def compare(peer: str, ours: str, clients: int, repeats: int) -> dict[str, list[float]]:
    """Times of both by name, of so many clients at once."""
    rng, found = random.Random(0), {"sglang": list[float](), "reason": list[float]()}
    targets = {"sglang": (peer, "any"), "reason": (ours, "ours")}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for turn in range(repeats + 3):
            names = list(targets)
            for name in names if turn % 2 else names[::-1]:
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
    command = [sys.executable, "-m", "reason.cli", "serve", "ours", "--port", "0"]
    command += ["--backend", f"sglang://{backend.removeprefix('http://')}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split(" at ")[1].strip().removesuffix("/v1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--backend", default="", help="URL of an SGLang server that runs")
    parser.add_argument("--prompt", default="<bos> <seq> {numbers} ; 0 <go>",
                        help="with {numbers}; of a chat model any text")  # fmt: skip
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
    rows = []
    try:
        for clients in asked.clients:
            found = asyncio.run(compare(peer, ours, clients, asked.repeats))
            theirs, own = found["sglang"], found["reason"]
            rows.append(
                {
                    "clients": clients,
                    "sglang_ms": round(median(theirs), 1),
                    "reason_ms": round(median(own), 1),
                    "added_ms": round(median(own) - median(theirs), 1),
                    "added_p90_ms": round(
                        quantiles(own, n=10)[-1] - quantiles(theirs, n=10)[-1], 1
                    ),
                }
            )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if server:
            server.stop()
    if asked.json:
        print(json.dumps(rows))
        return
    table = Table("clients", "SGLang, ms", "reason serve, ms", "added", "added at p90")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
