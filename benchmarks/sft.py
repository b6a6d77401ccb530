"""Our training loop against TRL's SFTTrainer: the same model, data and tokens per step.

    python -m benchmarks.sft [--steps 40]

Both run on one thread, alternating; the figure is trained tokens (padding excluded) per second of
CPU time, so that what else runs on the machine hardly counts.
The peer gets what it offers: pre-tokenised examples with their labels, rows sorted by length,
bf16 autocast, and as many tokens a step.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from rl.batches import IGNORE, Batch, block
from rl.model import new_model
from rl.recipe import Mixture, Recipe, Shape, Stage
from rl.sft import Training

MIXTURE = Mixture(serial=0.6)
TOKENS = 1920


def ours(training: Training, batches: list[Batch]) -> float:
    """Tokens per second of our loop."""
    start = time.process_time()
    for batch in batches:
        training.step(batch, 1e-3)
    return sum(batch.tokens for batch in batches) / (time.process_time() - start)


def rows_of(batches: list[Batch]) -> list[dict[str, list[int]]]:
    """The examples of some batches as SFTTrainer wants them: it shifts the labels itself."""
    return [
        {"input_ids": [*ids[:end], labels[end - 1]], "labels": [IGNORE, *labels[:end]]}
        for batch in batches
        for ids, labels in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True)
        for end in [len(labels) - next(i for i, x in enumerate(reversed(labels)) if x != IGNORE)]
    ]


def theirs(batches: list[Batch]) -> float:
    """Tokens per second of SFTTrainer on the same rows."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    from rl.vocabulary import save_tokenizer

    rows = sorted(rows_of(batches), key=lambda row: len(row["input_ids"]))
    per_step = max(1, len(rows) // len(batches))
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(Path(folder))
        trainer = SFTTrainer(
            model=new_model(Shape(), 0),
            args=SFTConfig(
                folder,
                per_device_train_batch_size=per_step,
                num_train_epochs=1,
                train_sampling_strategy="sequential",
                bf16=True,
                use_cpu=True,
                gradient_checkpointing=False,
                max_length=2048,
                report_to="none",
                logging_strategy="no",
                save_strategy="no",
                disable_tqdm=True,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
        )
        start = time.process_time()
        trainer.train()
        seconds = time.process_time() - start
    return sum(batch.tokens for batch in batches) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stage = Stage("all", 1, 0.005, 1e-3, MIXTURE)
    training = Training(Recipe((stage,)), Path(tempfile.mkdtemp()))
    training.start_stage(0)
    ours(training, list(block(MIXTURE, TOKENS, 10, "warm-up")))  # compiles
    pairs = []
    for repeat in range(options.repeats):
        batches = list(block(MIXTURE, TOKENS, options.steps, f"speed/{repeat}"))
        pairs.append((ours(training, batches), theirs(batches)))
    result: dict[str, Any] = {
        "ours": statistics.median(a for a, _ in pairs),
        "SFTTrainer": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "ratio_range": [min(a / b for a, b in pairs), max(a / b for a, b in pairs)],
    }
    if options.json:
        print(json.dumps(result))
        return
    table = Table(title=f"{TOKENS} tokens a step, one thread")
    for column in ("", "tokens/s of CPU time"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("our loop", f"{result['ours']:,.0f}")
    table.add_row("SFTTrainer", f"{result['SFTTrainer']:,.0f}")
    low, high = result["ratio_range"]
    table.add_row("ratio", f"{result['ratio']:.2f} ({low:.2f} to {high:.2f})")
    Console().print(table)


if __name__ == "__main__":
    main()
