"""Throughput of the hf backend as a ratio to `generate` of transformers, in one run.

    python -m benchmarks.hf_backend [--library] [--json] [--repeats 5] [--threads 1 2]

The peer is `model.generate` on one static batch, greedy, with the same model, prompts and token
counts; no sequence ends early on either side. With equal lengths that is one batch of 16; with
mixed lengths, batches of 16 of which each runs to its longest. `--library` adds the continuous
batching of transformers. Repeats are interleaved, prompts are fresh in each, so that no prefix is
reused. Only requested tokens count.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer, models
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from reason.backends.hf import HFBackend
from reason.types import SamplingParams

PROMPT = 40
BATCH = 16

Work = list[tuple[list[int], int]]
"""Prompts, and how many tokens to sample after each."""


@dataclass
class Row:
    model: str
    threads: int
    lengths: str
    tokens: int
    static: list[float] = field(default_factory=list)
    """Tokens per second, one entry per repeat; likewise below."""
    hf: list[float] = field(default_factory=list)
    library: list[float] = field(default_factory=list)


def qwen() -> PreTrainedModel:
    """5.4 million weights."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=512,
            hidden_size=256,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=64,
            intermediate_size=768,
            max_position_embeddings=4096,
            eos_token_id=None,
        )
    )


def llama() -> PreTrainedModel:
    """0.92 million weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=384,
            max_position_embeddings=4096,
            eos_token_id=None,
        )
    )


MODELS: dict[str, Callable[[], PreTrainedModel]] = {"qwen3 5.4M": qwen, "llama 0.92M": llama}


def work(lengths: str, repeat: int) -> Work:
    """16 x 128 tokens, or 32 requests of 16 to 256."""
    rng = random.Random(lengths)
    counts = [128] * BATCH if lengths == "equal" else [rng.randint(16, 256) for _ in range(32)]
    rng.seed(f"{lengths} {repeat}")
    return [([rng.randrange(3, 250) for _ in range(PROMPT)], n) for n in counts]


def by_generate(model: PreTrainedModel, asks: Work) -> None:
    for first in range(0, len(asks), BATCH):
        batch = asks[first : first + BATCH]
        ids = torch.tensor([ids for ids, _ in batch])
        longest = max(n for _, n in batch)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=longest,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert out.shape == (len(batch), PROMPT + longest)


def by_library(model: PreTrainedModel, asks: Work) -> None:
    with model.continuous_batching_context_manager(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=256),
    ) as manager:
        for ids, n in asks:
            manager.add_request(ids, max_new_tokens=n)
        ended = 0
        while ended < len(asks):
            result = manager.get_result(timeout=10)
            ended += result is not None and result.is_finished()


def by_hf(backend: HFBackend, asks: Work) -> None:
    async def one(ids: list[int], n: int) -> None:
        got = 0
        params = SamplingParams(temperature=0, max_tokens=n)
        async for chunk in backend.generate(ids, params):
            got += len(chunk.ids)
        assert got == n

    async def main() -> None:
        await asyncio.gather(*(one(*ask) for ask in asks))

    asyncio.run(main())


def measure(row: Row, repeats: int, library: bool) -> None:
    torch.manual_seed(0)
    stock, served = MODELS[row.model]().eval(), MODELS[row.model]().eval()
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(512)}, unk_token="w0"))
    backend = HFBackend(served, PreTrainedTokenizerFast(tokenizer_object=words))
    ways: list[tuple[list[float], Callable[[Work], None]]] = [
        (row.static, lambda asks: by_generate(stock, asks)),
        (row.hf, lambda asks: by_hf(backend, asks)),
    ]
    if library:
        ways.append((row.library, lambda asks: by_library(stock, asks)))
    for repeat in range(-1, repeats):
        asks = work(row.lengths, repeat)
        # Who goes first alternates; the first round warms up.
        for rates, way in ways if repeat % 2 else reversed(ways):
            start = time.perf_counter()
            way(asks)
            if repeat >= 0:
                rates.append(sum(n for _, n in asks) / (time.perf_counter() - start))
    asyncio.run(backend.close())


def ratio(rates: list[float], to: list[float]) -> str:
    """Median of the repeats' ratios, with the smallest and the largest."""
    if not rates:
        return ""
    ratios = [a / b for a, b in zip(rates, to, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"


def table(rows: list[Row]) -> Table:
    out = Table(title="tokens per second (median), and ratio to the static batch")
    for name in ("model", "threads", "lengths", "tokens", "generate", "hf", "ratio"):
        out.add_column(name, justify="left" if name in ("model", "lengths") else "right")
    if any(row.library for row in rows):
        out.add_column("library", justify="right")
        out.add_column("ratio", justify="right")
    for row in rows:
        cells = [row.model, str(row.threads), row.lengths, str(row.tokens)]
        cells += [f"{statistics.median(row.static):.0f}", f"{statistics.median(row.hf):.0f}"]
        cells.append(ratio(row.hf, row.static))
        if row.library:
            cells += [f"{statistics.median(row.library):.0f}", ratio(row.library, row.static)]
        out.add_row(*cells)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", action="store_true", help="also its continuous batching")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = parser.parse_args()
    rows = [
        Row(model, threads, lengths, sum(n for _, n in work(lengths, 0)))
        for model in options.models
        for threads in options.threads
        for lengths in ("equal", "mixed")
    ]
    for row in track(rows, console=Console(stderr=True), disable=not sys.stderr.isatty()):
        torch.set_num_threads(row.threads)
        measure(row, options.repeats, options.library)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(rows))


if __name__ == "__main__":
    main()
