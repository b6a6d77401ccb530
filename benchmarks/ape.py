"""Time to the first token behind contexts that are cached, against the prefill of one sequence.

    python -m benchmarks.ape [--contexts 2 8 32 64 128] [--repeats 3] [--json] [--threads 1]

The model is a Llama with random weights (12M parameters, 8 layers), contexts are 512 tokens, the
query 32. `sequence` is one forward pass of transformers over all of it, with its fused attention:
the peer. `together` is a query behind contexts that have been read before, side by side; `first`
one behind encoded contexts that were not yet put together, so that less `together` it is what
putting them together costs; `disk` finds them in files only; `cold` has to encode them. Repeats
are interleaved; every query is another one.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reason.backends.context_store import ContextStore
from reason.backends.hf import HFBackend
from reason.backends.hf_parallel import split
from reason.types import Layout, SamplingParams

LENGTH = 512
QUERY = 32
PREFIX = 16
VOCABULARY = 1000
FIRST = SamplingParams(temperature=0, max_tokens=1)


@dataclass
class Row:
    contexts: int
    tokens: int
    sequence: list[float] = field(default_factory=list)
    """Seconds to the first token, one entry per repeat; likewise below."""
    together: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2**17,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(VOCABULARY)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words)))


async def first_token(backend: HFBackend, ids: list[int], layout: Layout) -> float:
    began = time.perf_counter()
    async for _ in backend.generate_parallel(ids, layout, FIRST):
        return time.perf_counter() - began
    raise AssertionError("no token came")


def prefill(model: LlamaForCausalLM, ids: list[int]) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1)
    return time.perf_counter() - began


async def measure(count: int, repeats: int, longest: int) -> tuple[Row, float]:
    """The row, and the bytes of memory for a token that is cached."""
    rng = random.Random(count)
    layout = Layout(PREFIX, (LENGTH,) * count, 0.9, 0.9)
    body = rng.choices(range(VOCABULARY), k=layout.end)

    def query() -> list[int]:
        return body + rng.choices(range(VOCABULARY), k=QUERY)

    row = Row(count, layout.end + QUERY)
    peer = llama()
    with tempfile.TemporaryDirectory() as folder:
        store = ContextStore(Path(folder))
        backend = HFBackend(llama(), tokenizer(), context_gib=4.0)
        cache, known = backend.contexts.cache, query()
        row.cold.append(await first_token(backend, known, layout))
        prefix, contexts, _ = split(known, layout)
        keys = [backend.contexts.key(prefix, each) for each in contexts]
        parts = [cache.get(key) for key in keys]
        for key, part in zip(keys, parts, strict=True):
            assert part is not None
            store.save(key, part, "benchmark", PREFIX, "")
        one = parts[0]
        assert one is not None
        row_bytes = sum(t.numel() * t.element_size() for pair in one for t in pair) / LENGTH
        for _ in range(repeats):
            cache.clear()
            for key, part in zip(keys, parts, strict=True):
                assert part is not None
                cache.add(key, part)
            row.first.append(await first_token(backend, query(), layout))
            row.together.append(await first_token(backend, query(), layout))
            cache.clear()
            backend.contexts.store = store
            row.disk.append(await first_token(backend, query(), layout))
            backend.contexts.store = None
            if count <= longest:
                row.sequence.append(prefill(peer, query()))
        await backend.close()
    return row, row_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, nargs="+", default=[2, 8, 32, 64, 128])
    parser.add_argument("--longest", type=int, default=64, help="contexts of the longest sequence")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, size = [], 0.0
    for count in options.contexts:
        row, size = asyncio.run(measure(count, options.repeats, options.longest))
        rows.append(row)
    if options.json:
        print(json.dumps({"bytes_per_token": size, "rows": [asdict(row) for row in rows]}))
        return
    names = ("sequence", "together", "first", "disk", "cold")
    table = Table("contexts", "tokens", *names, "sequence / together", "putting together, each")
    for row in rows:
        mid = {name: statistics.median(getattr(row, name) or [float("nan")]) for name in names}
        ratios = [a / b for a, b in zip(row.sequence, row.together, strict=False)]
        shown = f"{statistics.median(ratios):.1f}" if ratios else ""
        each = (mid["first"] - mid["together"]) / row.contexts
        cells = (f"{mid[name]:.3f} s" for name in names)
        table.add_row(str(row.contexts), str(row.tokens), *cells, shown, f"{1000 * each:.2f} ms")
    Console().print(table)
    print(f"{size:.0f} bytes for a cached token, twice that for one that is read")


if __name__ == "__main__":
    main()
