"""What our layer costs on top of SGLang, as a ratio to a bare client of the same server.

    python -m benchmarks.sglang [--backend URL | --model PATH|tiny] [--threads 1 16 64 256] [--json]

Ours is all of it: an engine with tree, ledger and a recorder on disk, through `SGLangBackend`. The
peer posts the same requests and counts tokens. They take turns and who goes first alternates; every
request has a prompt of its own, so that the cache favours nobody. With server and clients on the
same few cores the ratio is a pessimistic one: whatever a client computes, the server waits for.

Without --backend a server is started that ignores the end of a text, so that every request is
answered with as many tokens as it asks for. One that runs already must be started likewise, with
`--preferred-sampling-params '{"ignore_eos": true}'`. `--model tiny` is a Qwen3 of random weights.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import ClassVar

from rich.console import Console

from benchmarks.bare import Bare
from benchmarks.gpu.model import MODELS, make
from benchmarks.overhead import Row, table
from benchmarks.paired import difference, ratio
from eval.manifest import session
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_launch import LaunchedSGLang
from reason.engine import Engine
from reason.events import Event, Tokens
from reason.record import Recorder
from reason.run import solve
from reason.types import Prompt, Result, SamplingParams

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "reason" / "models" / "countdown-apr"
PYTHON = os.environ.get("REASON_SGLANG_PYTHON", str(ROOT / ".venv-sglang" / "bin" / "python"))
SERVER = {
    "device": "cpu",
    "max_running_requests": "256",
    "max_total_tokens": "65536",
    "preferred_sampling_params": '{"ignore_eos": true}',
}
THREADS = {1: 8, 16: 4, 64: 2, 256: 1}
"""Threads at once, and how many times as many repeats: the short ones are the noisy ones. With
more, --tokens should be less."""
NUMBERS = 24
"""Words of a prompt."""


@dataclass(frozen=True)
class Wide:
    """One thread per prompt, all at once, that each write `tokens` tokens."""

    name: ClassVar[str] = "wide"
    prompts: tuple[str, ...]
    tokens: int

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        threads = [engine.spawn(root, each) for each in self.prompts]
        params = SamplingParams(max_tokens=self.tokens)
        await engine.map(lambda thread: engine.generate(thread, params), threads)
        engine.join(root, threads)
        return Result(None, root.id)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one side took for one repeat."""

    seconds: float
    cpu: float
    """Seconds of the client process."""
    first: float
    """Seconds to the first token, the mean of all threads."""


class Firsts:
    """A sink: when the first token of each thread came."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Tokens) and event.origin == "sampled":
            self.times.setdefault(event.thread, perf_counter())


async def ours(backend: SGLangBackend, prompts: Sequence[str], tokens: int, path: Path) -> Sample:
    began, cpu = perf_counter(), process_time()
    recorder, firsts = Recorder(path, {}), Firsts()
    method = Wide(tuple(prompts), tokens)
    run = await solve(method, "1", {"policy": backend}, sinks=[recorder, firsts])
    recorder.close()
    took = Sample(perf_counter() - began, process_time() - cpu, _mean(firsts.times.values(), began))
    _complete(run.ledger.total_tokens, len(prompts) * tokens, run.error or recorder.error)
    return took


async def bare(client: Bare, prompts: Sequence[list[int]], tokens: int) -> Sample:
    began, cpu = perf_counter(), process_time()
    params = SamplingParams(max_tokens=tokens)
    answers = await asyncio.gather(*(client.generate(ids, params) for ids in prompts))
    took = Sample(
        perf_counter() - began, process_time() - cpu, _mean([a.first for a in answers], began)
    )
    _complete(sum(len(a.ids) for a in answers), len(prompts) * tokens, None)
    return took


def _mean(times: Collection[float], began: float) -> float:
    return sum(times) / len(times) - began


def _complete(tokens: int, expected: int, error: str | None) -> None:
    if error or tokens != expected:
        sys.exit(f"{tokens} of {expected} tokens came: {error or 'does the model end its texts?'}")


def prompts(repeat: int, side: str, threads: int) -> list[str]:
    """Numbers, which every tokenizer knows."""
    rng = random.Random(f"{repeat} {side} {threads}")
    return [" ".join(str(rng.randint(1, 99)) for _ in range(NUMBERS)) for _ in range(threads)]


async def measure(
    backend: SGLangBackend, client: Bare, threads: int, tokens: int, repeats: int, folder: Path
) -> Row:
    here: list[Sample] = []
    there: list[Sample] = []
    for repeat in range(-1, repeats):  # the first warms up
        texts = prompts(repeat, "ours", threads)
        ids = [backend.encode(text) for text in prompts(repeat, "bare", threads)]
        mine, its = None, None
        for side in (0, 1) if repeat % 2 else (1, 0):
            if side:
                mine = await ours(backend, texts, tokens, folder / f"{threads}-{repeat}.jsonl")
            else:
                its = await bare(client, ids, tokens)
        assert mine and its
        if repeat >= 0:
            here.append(mine)
            there.append(its)
    total = threads * tokens
    return Row(
        threads,
        total,
        repeats,
        repeats * total / sum(s.seconds for s in here),
        repeats * total / sum(s.seconds for s in there),
        ratio([s.seconds for s in there], [s.seconds for s in here]),
        sum(s.first for s in here) / repeats * 1e3,
        difference([s.first * 1e3 for s in here], [s.first * 1e3 for s in there]),
        sum(s.cpu for s in here) / repeats / total * 1e6,
        sum(s.cpu for s in there) / repeats / total * 1e6,
    )


async def run(options: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        if options.backend:
            backend = SGLangBackend(options.backend)
        else:
            named = options.model in MODELS
            model = str(make(options.model, Path(folder))) if named else options.model
            backend = LaunchedSGLang(model, python=options.python, server=SERVER)
        gc.freeze()  # as a command does
        try:
            async with Bare(backend.url) as client:
                rows = []
                for threads in options.threads:
                    repeats = options.repeats * THREADS.get(threads, 1)
                    row = await measure(
                        backend, client, threads, options.tokens, repeats, Path(folder)
                    )
                    rows.append(row)
                    print(f"{threads} threads: {row.ratio.value:.3f}", file=sys.stderr)
                    if options.out:
                        save(options.out, rows, backend)
                return rows
        finally:
            await backend.close()


def save(folder: Path, rows: Sequence[Row], backend: SGLangBackend) -> None:
    """What was found so far, and on what."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "command": sys.argv,
        "model": backend.info.model,
        **session({"policy": backend}),
        "rows": [asdict(row) for row in rows],
    }
    (folder / "sglang.json").write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", default="", help="URL of a server that runs")
    parser.add_argument("--model", default=str(MODEL), help="what to serve: a folder, or tiny")
    parser.add_argument("--python", default=PYTHON, help="interpreter that has sglang")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a thread")
    parser.add_argument("--repeats", type=int, default=6, help="repeats at the most threads")
    parser.add_argument("--out", type=Path, help="folder for sglang.json: rows and conditions")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    rows = asyncio.run(run(options))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console(width=None if sys.stdout.isatty() else 130).print(table(rows))


if __name__ == "__main__":
    main()
