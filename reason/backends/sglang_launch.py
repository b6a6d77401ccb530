"""An SGLang server of our own: started, waited for, and gone when we are."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from reason.backends.hub import local
from reason.backends.sglang import SGLangBackend
from reason.errors import BackendError, UsageError

Say = Callable[[str], object]
"""Is told, again and again, what is being waited for."""

CPU = {
    "attention_backend": "torch_native",
    "dtype": "float32",
    "max_total_tokens": "20000",
    "sleep_on_idle": "true",
}
"""What a server needs on a machine without a GPU, unless the user says otherwise."""
NO_GPU = "No accelerator"
"""What it says where there is none."""
TAIL = 12
"""Lines of the log that are shown if it dies."""
DYING = 3.0
"""Seconds for the rest of a server to go once it has broken a connection."""
WIDTH = 300
"""Characters of each: one of them is all the server's settings."""


class ServerProcess:
    """A server that runs until `stop`, or until this process ends in whatever way."""

    def __init__(self, model: str, python: str, options: Mapping[str, str], port: int = 0) -> None:
        """Start it on 127.0.0.1, a free port if 0; `options` are its flags, "true" for a bare one.

        Raises UsageError if there is no such interpreter or folder.
        """
        if shutil.which(python) is None:
            raise UsageError(f"no Python at {python!r}; give python=PATH, of one that has sglang")
        self._python = python
        folder = local(model)
        self.model = str(folder.resolve()) if folder else model
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        handle, name = tempfile.mkstemp(".log", "reason-sglang-")
        os.close(handle)
        self.log = Path(name)
        cpu = options.get("device") == "cpu"
        flags = {**(CPU if cpu else {}), "incremental_streaming_output": "true", **options}
        command = [python, "-m", "sglang.launch_server", "--model-path", self.model]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        for name, value in flags.items():
            if value != "false":
                command.append(f"--{name.replace('_', '-')}")
                command += [] if value in ("", "true") else [value]
        guard = [sys.executable, "-m", "reason.backends.guard", str(self.log), *command]
        # A package that was found by the working directory is to be found from there, too.
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {
            **({"SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1"} if cpu else {}),
            "SGLANG_RETURN_ORIGINAL_LOGPROB": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        self._guard = subprocess.Popen(
            guard, stdin=subprocess.PIPE, env=environment, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Of the guard, whose child is the server."""
        return self._guard.pid

    @property
    def ended(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._guard.poll() is not None

    def wait(self, seconds: float, say: Say) -> None:
        """Until it answers. Raises BackendError with the log's last lines if it does not."""
        begun = monotonic()
        while not self._healthy():
            passed = monotonic() - begun
            if self.ended:
                words = self.tail()
                if "No module named 'sglang'" in words:
                    raise UsageError(
                        f"the Python at {self._python} has no sglang; give python=PATH, of one "
                        "that has"
                    )
                lacks = "; there is no GPU, for which device=cpu" if NO_GPU in words else ""
                raise BackendError(f"the SGLang server died while starting{lacks}:\n{words}")
            if passed > seconds:
                self.stop()
                raise BackendError(
                    f"the SGLang server was not ready after {seconds:g} s:\n{self.tail()}"
                )
            last = self.tail(1)
            say(f"starting SGLang with {self.model}, {passed:.0f} s: {last[:100]}")
            sleep(0.5)

    def stop(self) -> None:
        """End it and all its processes."""
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait()

    def tail(self, lines: int = TAIL) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        said = [line[:WIDTH] for line in text.splitlines() if line.strip()]
        return "\n".join(said[-lines:])

    def _healthy(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class LaunchedSGLang(SGLangBackend):
    """The backend of a server that was started for it and ends with it."""

    def __init__(
        self,
        model: str,
        *,
        python: str = sys.executable,
        port: int = 0,
        wait: float = 1800.0,
        say: Say = lambda line: None,
        server: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Start a server of `model`, a folder or a name on the hub, and wait up to `wait` seconds.

        `python` is the interpreter that has sglang, `server` its flags (`tp`: "2"), `options`
        those of `SGLangBackend`. Raises BackendError with the server's last words if it dies.
        """
        self.process = ServerProcess(model, python, server or {}, port)
        try:
            self.process.wait(wait, say)
            super().__init__(self.process.url, **options)
            self._server.last_words = self._last_words
        except BaseException:
            self.process.stop()
            raise

    async def _last_words(self) -> str:
        """The end of its log, if the server is over, or about to be."""
        until = monotonic() + DYING
        while not self.process.ended and monotonic() < until:
            await asyncio.sleep(0.1)
        return self.process.tail() if self.process.ended else ""

    async def close(self) -> None:
        """Close the connections and end the server."""
        await super().close()
        await asyncio.to_thread(self.process.stop)
        self.process.log.unlink(missing_ok=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
