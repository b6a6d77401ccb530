"""Real SGLang servers for tests: stock, on the CPU, on free ports of 127.0.0.1."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reason.backends.sglang_launch import ServerProcess

ROOT = Path(__file__).parents[1]
COUNTDOWN = str(ROOT / "reason" / "models" / "countdown-apr")
PYTHON = os.environ.get("REASON_SGLANG_PYTHON", str(ROOT / ".venv-sglang" / "bin" / "python"))
CPU = {"device": "cpu", "max_running_requests": "64"}
START = 240.0
"""Seconds; about 30 on an idle machine."""


def require() -> None:
    """Skip where that was asked for, fail where SGLang is missing."""
    if os.environ.get("SKIP_SGLANG") == "1":
        pytest.skip("SKIP_SGLANG=1: nothing was tested against SGLang")
    if shutil.which(PYTHON) is None:
        pytest.fail(f"no SGLang at {PYTHON}: run `make sglang`, or set SKIP_SGLANG=1")


def processes(root: int) -> list[int]:
    """A process of Linux and all below it, deepest last."""
    children = Path(f"/proc/{root}/task/{root}/children")
    try:
        below = [int(pid) for pid in children.read_text().split()]
    except OSError:
        return []
    return [root, *(pid for child in below for pid in processes(child))]


@contextmanager
def serving(model: str, port: int = 0, **options: str) -> Iterator[ServerProcess]:
    """A server of that model, ready; gone at the end."""
    require()
    server = ServerProcess(model, PYTHON, {**CPU, **options}, port)
    try:
        server.wait(START, lambda _: None)
        yield server
    finally:
        server.stop()
        server.log.unlink(missing_ok=True)
