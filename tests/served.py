"""`reason serve` for tests: in this process on a scripted model, or as the command that it is."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from controllers.methods import METHODS, method_named
from eval.asking import Chosen, prepared
from reason.backends.base import Backend
from reason.config import Values
from reason.serve.command import service_of
from reason.serve.server import Server, listen
from reason.serve.service import Service
from reason.serve_keys import Serve
from reason.settings import command_of, method_of

ROOT = Path(__file__).parents[1]


def check(name: str, knobs: Mapping[str, Any]) -> object:
    return method_of(Chosen, dict(knobs), method_named(name), method_named)


def service(model: Backend, **tables: Any) -> Service:
    """What the command builds of these options, on this model."""
    given: Values = tables
    models = {"policy": model}
    return service_of(command_of(Serve, given), given, prepared, tuple(METHODS), check, models)


@asynccontextmanager
async def hosting(held: Service) -> AsyncIterator[str]:
    """Its address, on a free port of 127.0.0.1; gone at the end."""
    listening = listen("127.0.0.1", 0)
    server = Server(held, listening)
    task = asyncio.create_task(server.run_until_stopped())
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@contextmanager
def hosting_apart(held: Service) -> Iterator[str]:
    """The same in a thread of its own, for clients that wait in place."""
    listening = listen("127.0.0.1", 0)
    server = Server(held, listening)
    thread = threading.Thread(target=lambda: asyncio.run(server.run_until_stopped()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@asynccontextmanager
async def client_of(held: Service, key: str = "none") -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, of a server in this process."""
    async with (
        hosting(held) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
    ):
        yield client


@contextmanager
def serving_command(
    *words: str, **environment: str
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Address and process of `reason serve` with these words, on a free port; ended by SIGTERM if
    it still runs, and then with the exit code 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reason.cli", "serve", *words, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving "), line
        yield line.split(" at ")[1].strip().removesuffix("/v1"), process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
