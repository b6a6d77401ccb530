"""Processes for work that may hang, crash or eat memory: each loses one answer, never the run.

A request is a line of JSON and so is its reply. A process is ended by the kernel when one request
takes more processor time or memory than it may, and from here when it takes far too long by the
clock; the next request gets a fresh one. Time is counted on the processor because a busy machine
must not change a verdict.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reason.errors import ReasonError, UsageError

SECONDS = 5.0
"""Processor time that one request may take."""
MEMORY = 512 << 20
"""Bytes of address space that a process may have."""
START_SECONDS = 120.0
PATIENCE = 20.0
"""Times the processor time that a request may take by the clock."""

_ROOT = str(Path(__file__).resolve().parent.parent)
Reply = dict[str, Any]


class Lost(ReasonError):
    """A request has no reply; the message says what became of its process."""


class Sandbox:
    """Up to `size` processes that run `command` and call `serve`; safe to share among threads."""

    def __init__(
        self,
        command: Sequence[str],
        size: int = 1,
        seconds: float = SECONDS,
        memory: int = MEMORY,
    ) -> None:
        self._command = [sys.executable, "-P", *command, str(seconds), str(memory)]
        self._seconds, self._memory = seconds, memory
        self._free = threading.Semaphore(size)
        self._idle: list[_Process] = []
        weakref.finalize(self, _close, self._idle)

    def ask(self, request: Reply) -> Reply:
        """The reply to one request. Raises Lost when there is none, UsageError when no process
        can be started, which would be the same for every request."""
        with self._free:
            try:
                process = self._idle.pop()
            except IndexError:
                process = _Process(self._command)
            try:
                reply = process.ask(request, self._seconds * PATIENCE)
            except BaseException as error:
                process.close()
                if isinstance(error, _Ended):
                    raise Lost(self._ending(error.code)) from None
                raise
            if reply.pop("last", False):
                process.close()
            else:
                self._idle.append(process)
        if "lost" in reply:
            if reply["lost"] == "MemoryError":
                raise Lost(f"it took more than {self._memory >> 20} MB of memory")
            raise Lost(f"it raised {reply['lost']}")
        return reply

    def close(self) -> None:
        """End the processes; a later request starts new ones."""
        _close(self._idle)

    def _ending(self, code: int | None) -> str:
        if code is None:
            return f"it took more than {self._seconds * PATIENCE:g} seconds"
        if code == -signal.SIGPROF:
            return f"it took more than {self._seconds:g} seconds of processor time"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process ended with {how}"


class _Ended(Exception):
    """The process ended by itself, or (without a code) did not reply in time."""

    def __init__(self, code: int | None) -> None:
        self.code = code


class _Process:
    """One process, ready for requests. In a session of its own, so that Ctrl-C does not reach it;
    it ends when its input does, and that is when this process ends."""

    def __init__(self, command: Sequence[str]) -> None:
        path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        assert self._popen.stdin and self._popen.stdout
        self._input, self._output = self._popen.stdin, self._popen.stdout
        try:
            self._line(START_SECONDS)
        except _Ended as ended:
            self.close()
            how = "in time" if ended.code is None else f"(exit code {ended.code})"
            raise UsageError(f"{' '.join(command)} does not start {how}; try it by hand") from None

    def ask(self, request: Reply, seconds: float) -> Reply:
        try:
            self._input.write(json.dumps(request).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            raise _Ended(self._popen.wait()) from None
        reply: Reply = json.loads(self._line(seconds))
        return reply

    def _line(self, seconds: float) -> bytes:
        """The next line; raises _Ended where none comes."""
        until, line = time.monotonic() + seconds, b""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while not line.endswith(b"\n"):
            if not poll.poll(max(until - time.monotonic(), 0) * 1000):
                raise _Ended(None)
            more = os.read(self._output.fileno(), 1 << 16)
            if not more:
                raise _Ended(self._popen.wait())
            line += more
        return line

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        with suppress(BrokenPipeError):  # of what it was asked and never read
            self._input.close()
        self._output.close()


def _close(processes: "list[_Process]") -> None:
    while processes:
        processes.pop().close()


def serve(reply: Callable[[Reply], Reply], seconds: float, memory: int) -> None:
    """In such a process: reply to every line until there are no more.

    Whatever the work raises is part of the reply, since what a computer algebra system raises on
    strange input can be anything. A process that has grown asks to be replaced.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the work prints is no reply
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", file=channel, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = reply(json.loads(line))
        except Exception as error:
            answer = {"lost": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # resident now
        grown = pages * resource.getpagesize() > memory / 2
        print(json.dumps({**answer, "last": grown}), file=channel, flush=True)
        if grown:
            return
