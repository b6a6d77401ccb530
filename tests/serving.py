"""Real servers for tests: stock SGLang and llama.cpp, on the CPU, on free ports of 127.0.0.1."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from transformers import PreTrainedTokenizerBase

from reason.backends.sglang_launch import ServerProcess, free_port
from tests import tiny

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


@contextmanager
def llama_cpp(folder: Path, tokenizer: PreTrainedTokenizerBase, key: str = "") -> Iterator[str]:
    """URL of llama.cpp's server of a random Qwen3 with that tokenizer, both saved in `folder`."""
    require()
    options = {"vocabulary": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    tiny.model("qwen3", kv_heads=4, seed=1, **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    port, log = free_port(), folder / "server.log"
    command = [PYTHON, str(ROOT / "tests" / "llama_cpp.py"), str(folder), str(port), key]
    guard = [sys.executable, "-m", "reason.backends.guard", str(log), *command]
    process = subprocess.Popen(guard, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + START
    try:
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"llama.cpp's server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"{url}/v1"
    finally:
        process.stdin.close()
        process.wait()


def _healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
