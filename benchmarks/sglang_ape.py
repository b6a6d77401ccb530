"""Contexts read side by side on an SGLang server: what the plug-in costs others, what it saves.

    python -m benchmarks.sglang_ape [--model PATH|tiny] [--contexts 1 4 16] [--repeats 30] [--json]

Two servers of the same model, one of them with `--radix-cache-backend reason_ape`, take turns, and
who goes first alternates. *plain*: ordinary requests, a prompt of its own for each; the ratio is
throughput with the plug-in to throughput without. *first token*: of a query behind contexts of 512
tokens, on the one server: warm (the contexts are there), cold (they are encoded first), and in
sequence (the same number of tokens as one prompt, never seen before).

On a CPU a server computes attention one request after another and pads it: the figures compare ways
on the same server, and say nothing of its speed on a GPU.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.model import MODELS, make
from benchmarks.paired import Interval, ratio
from benchmarks.sglang import PYTHON, SERVER
from reason.backends.base import Chunk
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_launch import LaunchedSGLang
from reason.types import Layout, SamplingParams

LENGTH, PREFIX, QUERY = 512, 16, 32
"""Tokens of a context, of what stands before all of them, and of what is asked."""
FIRST = SamplingParams(temperature=0, max_tokens=1)


@dataclass(frozen=True)
class Plain:
    """Ordinary requests on both servers."""

    requests: int
    tokens: int
    repeats: int
    ratio: Interval
    """Throughput with the plug-in to throughput without."""


@dataclass(frozen=True)
class First:
    """Milliseconds to the first token, medians."""

    contexts: int
    warm: float
    cold: float
    sequence: float
    saved: Interval
    """Seconds in sequence to seconds when warm."""


def tokens(backend: SGLangBackend, draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(3, min(backend.info.vocabulary, 4000)) for _ in range(count)]


async def drain(chunks: AsyncGenerator[Chunk, None]) -> tuple[float, int]:
    """Seconds to the first token, and how many there were."""
    began, first, count = perf_counter(), 0.0, 0
    async with aclosing(chunks):
        async for chunk in chunks:
            count += len(chunk.ids)
            first = first or perf_counter() - began
    return first, count


async def plain(
    backends: Sequence[SGLangBackend], requests: int, length: int, repeats: int
) -> Plain:
    seconds: list[list[float]] = [[], []]
    params = SamplingParams(temperature=0, max_tokens=length)
    for repeat in range(-2, repeats):  # the first warm up
        for side in (0, 1) if repeat % 2 else (1, 0):
            backend, draw = backends[side], random.Random(f"{repeat} {side}")
            prompts = [tokens(backend, draw, 24) for _ in range(requests)]
            began = perf_counter()
            done = await asyncio.gather(*(drain(backend.generate(p, params)) for p in prompts))
            if sum(count for _, count in done) != requests * length:
                sys.exit("not all tokens came: does the model end its texts?")
            if repeat >= 0:
                seconds[side].append(perf_counter() - began)
    return Plain(requests, length, repeats, ratio(seconds[0], seconds[1]))


async def first(backend: SGLangBackend, contexts: int, repeats: int) -> First:
    layout = Layout(PREFIX, (LENGTH,) * contexts, 0.9, 0.9)
    draw = random.Random(contexts)
    known = tokens(backend, draw, layout.end)
    await drain(backend.generate_parallel([*known, *tokens(backend, draw, QUERY)], layout, FIRST))
    times: list[list[float]] = [[], [], []]
    for _ in range(repeats):
        asked, other, fresh = (tokens(backend, draw, QUERY) for _ in range(3))
        new, whole = (tokens(backend, draw, layout.end) for _ in range(2))
        for found, chunks in zip(
            times,
            (
                backend.generate_parallel([*known, *asked], layout, FIRST),
                backend.generate_parallel([*new, *other], layout, FIRST),
                backend.generate([*whole, *fresh], FIRST),
            ),
            strict=True,
        ):
            found.append((await drain(chunks))[0])
    warm, cold, sequence = (sorted(found)[len(found) // 2] * 1e3 for found in times)
    return First(contexts, warm, cold, sequence, ratio(times[2], times[0]))


async def run(options: argparse.Namespace) -> tuple[list[Plain], list[First]]:
    with tempfile.TemporaryDirectory() as folder:
        named = options.model in MODELS
        model = str(make(options.model, Path(folder))) if named else options.model
        flag = {"radix_cache_backend": "reason_ape"}
        backends = [
            LaunchedSGLang(model, python=options.python, server={**SERVER, **extra})
            for extra in ({}, flag)
        ]
        try:
            plains = [
                await plain(backends, requests, options.tokens, options.repeats)
                for requests in options.requests
            ]
            for each in plains:
                print(f"plain, {each.requests}: {each.ratio.value:.3f}", file=sys.stderr)
            firsts = []
            for contexts in options.contexts:
                repeats = max(options.repeats // (2 * contexts), 5)
                firsts.append(await first(backends[1], contexts, repeats))
                print(f"{contexts} contexts: {firsts[-1].saved.value:.1f}", file=sys.stderr)
            return plains, firsts
        finally:
            for backend in backends:
                await backend.close()


def table(plains: Sequence[Plain], firsts: Sequence[First]) -> list[Table]:
    one = Table("requests at once", "tokens each", "repeats", "throughput with : without")
    for each in plains:
        one.add_row(str(each.requests), str(each.tokens), str(each.repeats), span(each.ratio, 3))
    two = Table("contexts of 512", "warm (ms)", "cold (ms)", "sequence (ms)", "sequence : warm")
    for it in firsts:
        figures = (f"{value:.1f}" for value in (it.warm, it.cold, it.sequence))
        two.add_row(str(it.contexts), *figures, span(it.saved, 1))
    return [one, two]


def span(found: Interval, places: int) -> str:
    return f"{found.value:.{places}f} ({found.low:.{places}f} to {found.high:.{places}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="tiny", help="what to serve: a folder, or tiny")
    parser.add_argument("--python", default=PYTHON, help="interpreter that has sglang")
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a plain request")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args()
    plains, firsts = asyncio.run(run(options))
    if options.json:
        found = {"plain": list(map(asdict, plains)), "first": list(map(asdict, firsts))}
        print(json.dumps(found))
    else:
        Console(width=None if sys.stdout.isatty() else 130).print(*table(plains, firsts))


if __name__ == "__main__":
    main()
