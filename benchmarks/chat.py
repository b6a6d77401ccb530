"""What the screen of `reason chat` takes of a core while many threads write.

    python -m benchmarks.chat [--threads 500] [--rate 2000] [--seconds 20] [--size 200x60]

The whole application, in a process of its own on a pseudo-terminal that is read all the time,
folds, records and draws a run that writes so many tokens a second, one to an event. What is counted
is all processor time of that process, by the kernel. "without a screen" is the same run folded and
recorded by the same code with nothing drawn: the difference is the screen's.
"""

import argparse
import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reason.chat.app import ChatApp
from reason.chat.commands import Commands, Methods
from reason.chat.history import History
from reason.chat.hosts import Host, Job, Outcome
from reason.chat.session import Session
from reason.chat.steer import PlayedSteer
from reason.events import Noted, Opened, Tokens
from reason.journal import Sink
from reason.types import Message

TICK = 0.02
WARM_UP = 4.0
"""Seconds from the first sign of life to what is measured."""


class Synthetic:
    """A host whose runs are so many threads in groups of fifty, that write at a steady pace."""

    model, grammar = "synthetic", ""
    usual: Mapping[str, Any] = MappingProxyType({"controller": "synthetic"})
    notes: tuple[str, ...] = ()

    def __init__(self, threads: int, rate: int) -> None:
        self.threads, self.rate = threads, rate

    def job(self, messages: Sequence[Message], settings: Mapping[str, Any], seed: int) -> Job:
        async def work(sink: Sink) -> Outcome:
            began, sent = time.monotonic(), 0
            names = opened(sink, self.threads)
            while True:
                now = time.monotonic() - began
                while sent < now * self.rate:
                    name = names[sent % len(names)]
                    word = f" word{sent}" if sent % 40 else " and so\n"
                    sink(
                        Tokens(
                            thread=name, segment=1, origin="sampled", text=word, ids=(sent % 9999,),
                            logprobs=(-0.5,), at=now,
                        )
                    )  # fmt: skip
                    if sent % 500 == 0:
                        sink(Noted(thread=name, name="score", value=sent / 1e6, at=now))
                    sent += 1
                await asyncio.sleep(TICK)

        return Job("a question", "synthetic", self.model, {}, PlayedSteer(), work)

    async def close(self) -> None:
        pass


def opened(sink: Sink, threads: int) -> list[str]:
    """Open so many threads under one root; their names."""
    sink(Opened(thread="0", model="policy"))
    names = ["0"]
    parent, below = "0", 0
    for number in range(threads - 1):
        if number % 50 == 0:
            name, parent, below = f"0.{number // 50}", f"0.{number // 50}", 0
            sink(Opened(thread=name, model="policy", parent="0"))
        else:
            name = f"{parent}.{below}"
            below += 1
            sink(Opened(thread=name, model="policy", parent=parent))
        asked = f"task {number}: look at the part of it that nobody looked at"
        sink(Tokens(thread=name, segment=0, origin="prompt", text=asked, ids=(1, 2, 3)))
        names.append(name)
    return names


def session(threads: int, rate: int, folder: Path) -> Commands:
    methods = Methods(("synthetic",), lambda name: (), lambda settings: None)
    held = Session(None, {}, folder=folder)

    def connect(spec: str) -> Host:
        return Synthetic(threads, rate)

    return Commands(held, methods, connect)


async def without_screen(threads: int, rate: int, folder: Path) -> None:
    commands = session(threads, rate, folder)
    await commands.session.switch(Synthetic(threads, rate))
    print("begun", flush=True)
    await commands.session.ask("a question").runs[0].over()


def inside(threads: int, rate: int, screen: bool, frames: str) -> None:
    """What the measured process does, until it is killed."""
    with tempfile.TemporaryDirectory() as folder:
        if not screen:
            asyncio.run(without_screen(threads, rate, Path(folder)))
            return
        commands = session(threads, rate, Path(folder))
        app = ChatApp(commands, lambda: Synthetic(threads, rate), History(), question="a question")

        def count() -> None:
            while True:
                Path(frames).write_text(str(app.frames.count))
                time.sleep(0.2)

        threading.Thread(target=count, daemon=True).start()
        app.run()


def measured(options: argparse.Namespace, screen: bool) -> tuple[float, float, float]:
    """Share of a core, bytes a second that went to the terminal, and frames a second."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(options, screen, Path(folder) / "frames")


def _measured(
    options: argparse.Namespace, screen: bool, frames: Path
) -> tuple[float, float, float]:
    master, slave = pty.openpty()
    columns, rows = map(int, options.size.split("x"))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    words = ["--threads", options.threads, "--rate", options.rate, "--inside", int(screen)]
    words += ["--frames", frames]
    command = [sys.executable, "-m", "benchmarks.chat", *map(str, words)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    count = [0]

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                count[0] += len(data)
        except OSError:  # the other end is closed
            return

    threading.Thread(target=drain, daemon=True).start()
    try:
        while not count[0] and child.poll() is None:
            time.sleep(0.1)
        time.sleep(WARM_UP)
        before, written, seen = spent(child.pid), count[0], counted(frames)
        began = time.monotonic()
        time.sleep(options.seconds)
        took = time.monotonic() - began
        share, drawn = (spent(child.pid) - before) / took, (counted(frames) - seen) / took
        return share, (count[0] - written) / took, drawn
    finally:
        child.kill()
        child.wait()
        os.close(master)


def counted(frames: Path) -> int:
    """Frames that were drawn so far."""
    return int(frames.read_text() or 0) if frames.exists() else 0


def spent(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=500)
    parser.add_argument("--rate", type=int, default=2000, help="tokens a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", default="200x60")
    parser.add_argument("--frames", default="", help=argparse.SUPPRESS)
    parser.add_argument("--inside", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside >= 0:
        inside(options.threads, options.rate, bool(options.inside), options.frames)
        return
    alone, _, _ = measured(options, screen=False)
    whole, written, drawn = measured(options, screen=True)
    print(f"{options.threads} threads, {options.rate} tokens/s, {options.size}: share of a core")
    print(
        f"whole chat {whole:.1%}, {written / 1000:,.0f} kB/s to the terminal, {drawn:.1f} frames/s"
    )
    print(f"without a screen {alone:.1%}; the screen {whole - alone:.1%}")


if __name__ == "__main__":
    main()
