"""What a trie saves in training: one forward and backward pass over all requests of a rollout.

    python -m benchmarks.layouts [--rounds 9] [--layers 2] [--threads 1] [--out FILE]

A Qwen3 with random weights (hidden 256, vocabulary 512) on three rollouts: ThreadWeaver as it is
served (a prompt of 512, twice 4 threads of 128, joins that read all of them), a tree without joins,
and APR's parent with six children. Every round computes the same gradients in each way: all
requests in one padded batch, one row after the other, and packed. Seconds are those of the CPU, so
that what else runs on the machine hardly counts. Ratios are medians over rounds,
with bootstrap intervals.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.paired import ratio
from rl.layouts import pack, together
from rl.masks import arguments, register
from rl.requests import Request

VOCABULARY = 512


def new_model(layers: int) -> Any:
    register()
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=8192,
            initializer_range=0.08,
        )
    )


def rollouts() -> dict[str, list[Request]]:
    rng = random.Random(0)

    def words(count: int) -> list[int]:
        return [rng.randrange(20, VOCABULARY) for _ in range(count)]

    woven, context = [], words(512)
    for _ in range(2):
        outlines = words(32)
        woven.append(Request(context, outlines))
        context = context + outlines
        threads = []
        for number in range(4):
            opening, thought = [1, 2, 10 + number], words(128)
            woven.append(Request(context + opening, thought))
            threads += opening + thought
        context = context + threads + [3] * 4
    woven.append(Request(context, words(32)))

    tree, path = [], words(512)
    for _ in range(2):
        branches = [words(128) for _ in range(4)]
        tree += [Request(path, branch) for branch in branches]
        path = path + branches[0]

    asked, said = words(256), words(200)
    apr = [Request(asked, said)]
    apr += [Request(words(60), words(160)) for _ in range(6)]
    apr.append(Request(asked + said + words(40), words(100)))
    return {"ThreadWeaver, joined": woven, "tree": tree, "APR forest": apr}


def scored(logits: Tensor, sampled: Any) -> Tensor:
    picked = torch.as_tensor(sampled)[:, None]
    return logits.float().log_softmax(-1).gather(-1, picked)[:, 0]


def padded(model: Any, requests: list[Request]) -> Tensor:
    model.set_attn_implementation("sdpa")
    paths = [[*r.context, *r.sampled] for r in requests]
    longest = max(map(len, paths))
    ids, mask = (torch.zeros(len(paths), longest, dtype=torch.long) for _ in range(2))
    for row, path in enumerate(paths):
        ids[row, : len(path)], mask[row, : len(path)] = torch.tensor(path), 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    found = []
    for row, request in enumerate(requests):
        start = len(request.context) - 1
        found.append(scored(logits[row, start : start + len(request.sampled)], request.sampled))
    return torch.cat(found)


def one_by_one(model: Any, requests: list[Request]) -> Tensor:
    model.set_attn_implementation("sdpa")
    found = []
    for request in requests:
        ids = torch.tensor([[*request.context, *request.sampled]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(request.context) - 1 : -1]
        found.append(scored(logits, request.sampled))
    return torch.cat(found)


def packed(attention: str) -> Callable[[Any, list[Request]], Tensor]:
    def run(model: Any, requests: list[Request]) -> Tensor:
        model.set_attn_implementation(attention)
        rows = pack(requests)
        found = [
            scored(model(**arguments(row, attention)).logits[0, row.source], row.targets)
            for row in rows
        ]
        return together(rows, found)

    return run


WAYS: dict[str, Callable[[Any, list[Request]], Tensor]] = {
    "packed, tiles": packed("tree"),
    "packed, dense mask": packed("sdpa"),
    "one row for each request": one_by_one,
    "one padded batch": padded,
}


def measure(model: Any, requests: list[Request], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, round by round; who goes first changes."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    gradients: dict[str, Tensor] = {}
    for number in range(rounds + 1):
        names = [*WAYS]
        for name in names[number % 4 :] + names[: number % 4]:
            model.zero_grad()
            begun = process_time()
            WAYS[name](model, requests).mean().backward()  # type: ignore[no-untyped-call]
            if number:  # the first round warms up
                found[name].append(process_time() - begun)
            gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])
    plain = gradients["one row for each request"]
    for name, gradient in gradients.items():
        wrong = ((gradient - plain).norm() / plain.norm()).item()
        assert wrong < 1e-5, f"{name}: gradients are off by {wrong:.1e}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for every second, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, every = new_model(options.layers), {}
    title = f"Forward and backward, {options.layers} layers, {options.threads} threads"
    shown = Table(title=title, title_justify="left")
    for column in ("rollout", "way", "tokens", "seconds", "times as long as tiles"):
        shown.add_column(column, justify="right")
    for rollout, requests in rollouts().items():
        raw = [len(r.context) + len(r.sampled) for r in requests]
        counts = {
            "one row for each request": sum(raw),
            "one padded batch": max(raw) * len(raw),
        }
        unique = sum(map(len, pack(requests)))
        found = every[rollout] = measure(model, requests, options.rounds)
        ours = found["packed, tiles"]
        for way, seconds in found.items():
            times = ratio(seconds, ours)
            told = f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}]"
            middle = sorted(seconds)[len(seconds) // 2]
            row = (rollout, way, f"{counts.get(way, unique):,}", f"{middle:.3f}")
            shown.add_row(*row, "" if seconds is ours else told)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"command": sys.argv, "seconds": every}, indent=1))
    Console(width=None if sys.stdout.isatty() else 120).print(shown)


if __name__ == "__main__":
    main()
