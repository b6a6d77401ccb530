"""What the engine itself costs: a model that answers at once, tree, ledger and recorder attached.

    python -m benchmarks.engine [--json] [--tokens N] [--repeat N]

Every chunk of tokens goes once through the event loop, so that threads take turns as they do with
a real model. Of several repeats the fastest counts, since the machine may be doing other things.
"""

import argparse
import asyncio
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.table import Table

from reason.backends.base import Chunk, Info, Usage
from reason.engine import Engine, Sink
from reason.ledger import Budget
from reason.record import Recorder
from reason.run import solve
from reason.types import Prompt, Result, SamplingParams

THREADS = (1, 10, 100, 1000)
GOAL_TOKENS = 300_000
"""Tokens per second at 8 to a chunk, with the recorder."""
GOAL_MEMORY = 200
"""MB that 1,000 live threads may add."""
WORD = "word "


class Instant:
    """A backend that writes `max_tokens` tokens without computing anything.

    Its chunks are one and the same object, or with `fresh` new ones, as memory is measured.
    """

    def __init__(self, chunk: int, fresh: bool = False) -> None:
        self.chunk, self.fresh = chunk, fresh
        self.info = Info("instant", "none", 1 << 40, 1 << 20, "always")
        self._same = self._chunk(0)

    def _chunk(self, start: int) -> Chunk:
        # Ids above 256 and distinct logprobs, which Python does not share between tokens.
        ids = tuple(range(100_000 + start, 100_000 + start + self.chunk))
        return Chunk(WORD * self.chunk, ids, tuple(-1.0 / i for i in ids))

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        for start in range(0, params.max_tokens, self.chunk):
            await asyncio.sleep(0)
            yield self._chunk(start) if self.fresh else self._same
        yield Chunk("", (), finish="length", usage=Usage(len(ids)))

    def encode(self, prompt: Prompt) -> list[int]:
        return list(range(64))

    def decode(self, ids: Sequence[int]) -> str:
        return WORD * len(ids)

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        return [0.0] * (len(ids) - start)

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Wide:
    """`threads` forks of the root that each write `tokens` tokens."""

    name: ClassVar[str] = "wide"
    threads: int
    tokens: int

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(self.threads)]
        params = SamplingParams(max_tokens=self.tokens)
        await engine.map(lambda chain: engine.generate(chain, params), chains)
        engine.join(root, chains)
        return Result(None, root.id)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast tokens went through."""

    threads: int
    chunk: int
    recorded: bool
    tokens: int
    tokens_per_second: float
    ns_per_token: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What live threads weigh."""

    threads: int
    tokens_per_thread: int
    megabytes: float
    """Growth of the process's resident memory at its peak."""


def seconds(method: Wide, backend: Instant, path: Path | None) -> float:
    """Time of one run, the writing of its file included."""
    recorder = Recorder(path, {}) if path else None
    sinks: list[Sink] = [recorder] if recorder else []
    began = time.perf_counter()
    # A budget that never binds but is looked at.
    budget = Budget(total_tokens=1e12, critical_path=1e12, context=1e12)
    run = asyncio.run(solve(method, "prompt", {"policy": backend}, budget=budget, sinks=sinks))
    if recorder:
        recorder.close()
        if recorder.error:
            sys.exit(recorder.error)
    took = time.perf_counter() - began
    expected = method.threads * method.tokens
    if run.error or run.ledger.total_tokens != expected:
        sys.exit(f"the run went wrong: {run.error}, {run.ledger.total_tokens} of {expected} tokens")
    return took


def speed(threads: int, chunk: int, tokens: int, path: Path | None, repeat: int) -> Speed:
    each = max(tokens // threads // chunk, 1) * chunk
    method = Wide(threads, each)
    took = min(seconds(method, Instant(chunk), path) for _ in range(repeat))
    total = threads * each
    return Speed(
        threads, chunk, path is not None, total, round(total / took), round(took / total * 1e9, 1)
    )


def memory(threads: int, tokens: int, path: Path) -> Memory:
    """Call it first: the peak of a process never goes down."""
    before = _resident("VmRSS")
    seconds(Wide(threads, tokens), Instant(8, fresh=True), path)
    return Memory(threads, tokens, round(_resident("VmHWM") - before, 1))


def _resident(field: str) -> float:
    """MB of resident memory, now (VmRSS) or at its peak (VmHWM); elsewhere than on Linux always
    the latter."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def table(speeds: Sequence[Speed], weight: Memory) -> Table:
    shown = Table(title="The engine's own cost", title_justify="left")
    for column in ("threads", "tokens a chunk", "recorder", "tokens/s", "ns/token"):
        shown.add_column(column, justify="right")
    for s in speeds:
        recorder = "on disk" if s.recorded else "-"
        row = (f"{s.threads:,}", str(s.chunk), recorder, f"{s.tokens_per_second:,.0f}")
        shown.add_row(*row, f"{s.ns_per_token:,.0f}")
    shown.caption = (
        f"{weight.threads:,} live threads of {weight.tokens_per_thread:,} tokens: "
        f"{weight.megabytes:,.0f} MB (goal: under {GOAL_MEMORY}); goal of speed: "
        f"{GOAL_TOKENS:,} tokens/s with 8 to a chunk, recorded"
    )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens of one run")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the fastest counts")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.jsonl")
        speed(1, 8, 8_000, path, 1)  # warm up
        weight = memory(1000, 1000, path)
        speeds = [
            speed(threads, chunk, tokens, target, options.repeat)
            for chunk, tokens in ((8, options.tokens), (1, options.tokens // 4))
            for target in (None, path)
            for threads in THREADS
        ]
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        figures = {"speed": [asdict(s) for s in speeds], "memory": asdict(weight), **machine}
        print(json.dumps(figures))
    else:
        Console().print(table(speeds, weight))


if __name__ == "__main__":
    main()
