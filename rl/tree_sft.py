"""Imitation of whole runs on TRL's SFTTrainer: each run a trie, every token computed once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from reason.backends.connect import MODELS
from reason.backends.hf_load import load_pair
from reason.errors import UsageError
from rl.layouts import pack
from rl.masks import arguments, guard, register
from rl.tree_data import Example, examples, requests_in
from rl.trl_config import configured, settings

OURS = {
    "output_dir": "it is --out",
    "seed": "it is the key seed",
    "report_to": "it is the key report_to",
    "dataset_kwargs": "rows are requests, and prepared",
    "remove_unused_columns": "rows are requests, and prepared",
    "padding_free": "rows are packed as tries, which have no padding",
    "packing": "rows are packed as tries",
    "max_length": "runs are not cut",
}
"""Keys of TRL's configuration that are set here, and why."""
DEFAULTS = {
    "per_device_train_batch_size": 16,
    "gradient_checkpointing": False,
    "logging_steps": 10,
    "learning_rate": 1e-5,
    "disable_tqdm": True,
}


class TreeCollator:
    """The runs of a batch as one row. The loss is the mean over sampled tokens; one that two
    requests share, as where the same draft was drawn twice, counts once."""

    def __init__(self, attention: str) -> None:
        self.attention = attention

    def __call__(self, batch: Sequence[Example]) -> dict[str, Any]:
        (row,) = pack([request for example in batch for request in requests_in(example)])
        given = arguments(row, self.attention)
        labels = row.shift_labels[None]
        # Trainer counts tokens by `labels`; the loss goes by `shift_labels`.
        return {name: value for name, value in given.items() if value is not None} | {
            "labels": labels,
            "shift_labels": labels,
        }


def trainer_of(
    model: Any, tokenizer: Any, rows: Sequence[Example], args: Any, attention: str = ""
) -> SFTTrainer:
    """TRL's trainer on these runs. `args` is an SFTConfig as `configuration` makes it."""
    register()
    chosen = attention or ("flex_attention" if torch.cuda.is_available() else "tree")
    model.set_attn_implementation(chosen)
    guard(model)
    return SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        data_collator=TreeCollator(chosen),
    )


def configuration(folder: Path, seed: int, report_to: str, table: Any) -> Any:
    """SFTConfig with a recipe's keys. Raises UsageError for what it does not have."""
    given = {**DEFAULTS, "bf16": False, "use_cpu": not torch.cuda.is_available()}
    given |= settings(SFTConfig, table, OURS, "sft")
    return configured(
        SFTConfig,
        "sft",
        output_dir=str(folder / "checkpoints"),
        seed=seed,
        report_to=[] if report_to == "none" else [report_to],
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        **given,
    )


def train_trees(
    data: Path, model: str, folder: Path, console: Console, *, seed: int, report_to: str, table: Any
) -> None:
    """Train a model on the runs of a file or an evaluation; it goes to folder/model."""
    args = configuration(folder, seed, report_to, table)
    rows = examples(data)
    shipped = MODELS / model
    place = str(shipped) if shipped.is_dir() else model
    network, tokenizer = load_pair(place, "float32", "cuda" if torch.cuda.is_available() else "cpu")
    size = network.get_input_embeddings().weight.shape[0]
    most = max(max(*one["context"], *one["sampled"]) for r in rows for one in r["requests"])
    if most >= size:
        raise UsageError(f"{data} has the token {most}, and {model} only {size}: another model's?")
    trainer = trainer_of(network, tokenizer, rows, args)
    trainer.remove_callback(PrinterCallback)
    console.print(f"{len(rows):,} runs, into {folder}", markup=False, soft_wrap=True)
    trainer.train()
    trainer.save_model(str(folder / "model"))
    for row in trainer.state.log_history:
        if "loss" in row:
            console.print(f"step {row['step']}: loss {row['loss']:.4f}", markup=False)
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)
