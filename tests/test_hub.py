"""Models of the hub: fetched where it answers, refused at once where it does not."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import tiny

NAME = "someone/tiny"
COMMIT = "0" * 40


class Hub(SimpleHTTPRequestHandler):
    """A folder as the hub serves one: /NAME/resolve/main/FILE, and what it says of a file."""

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory) / path.rpartition("/")[2])

    def end_headers(self) -> None:
        self.send_header("ETag", f'"{self.path}"')
        self.send_header("X-Repo-Commit", COMMIT)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    tiny.model("llama").save_pretrained(folder)
    tiny.words().save_pretrained(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def asked(endpoint: str, cache: Path, **more: str) -> tuple[int, str, str]:
    """A question to a model of the hub: exit code, output, errors."""
    words = ["ask", "w1 w2", "-b", f"hf:{NAME}", "--json", "sampling.max_tokens=3", "-c", "single"]
    home = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1", **more}
    done = subprocess.run(
        [sys.executable, "-m", "reason.cli", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **home},
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


NOWHERE = "http://127.0.0.1:9"


def test_a_hub_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    code, out, error = asked(NOWHERE, tmp_path)
    assert (code, out) == (2, "")
    assert error.startswith(
        f"reason: {NAME} is neither a folder here nor in the cache of the hub, and {NOWHERE} does "
        "not answer ("
    )
    assert error.endswith("): give a folder, or try again with a network\n")
    assert error.count("\n") == 1
    error = asked(NOWHERE, tmp_path, HF_HUB_OFFLINE="1")[2]
    assert "in the cache of the hub, and HF_HUB_OFFLINE is set: give" in error


def test_a_model_is_fetched_and_then_loaded_without_a_network(hub: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    loaded = f"the tokenizer of {NAME} has no chat template"
    for endpoint in (hub, NOWHERE):
        code, out, error = asked(endpoint, cache)
        assert (code, error) == (1, "") and loaded in json.loads(out)["error"]
