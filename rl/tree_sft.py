"""Imitation of whole runs on TRL's SFTTrainer: each run a trie, every token computed once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from datasets import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from reason.config import Values, unknown_key
from reason.errors import UsageError
from reason.keys import Trees
from rl import checkpoint
from rl.claim import check, claim
from rl.curves import draw, logs_of
from rl.layouts import pack
from rl.log import log
from rl.masks import arguments, guard, register
from rl.resume import going_on, writing
from rl.tree_data import Example, examples, requests_in
from rl.trl_config import configured, reporting, settings
from rl.trl_run import begin, newest, steps_of

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
    "logging_steps": 1,
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
        report_to=reporting(report_to),
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        **given,
    )


@dataclass(frozen=True)
class Imitation:
    """What `reason train trees` was asked for, checked."""

    data: Path
    model: str
    role: str
    seed: int
    threads: int
    report_to: str
    sft: Values

    @classmethod
    def of(cls, asked: Trees, given: Values) -> "Imitation":
        """Raises UsageError without data, and for keys that do not exist."""
        if not asked.data:
            raise UsageError("which runs? for example: reason train trees runs/eval --out DIR")
        unknown_key(given, [*(field.name for field in fields(Trees)), "sft"])
        if asked.threads < 1:
            raise UsageError(f"threads must be 1 or more, got {asked.threads}")
        table = settings(SFTConfig, given.get("sft", {}), OURS, "sft")
        data = Path(asked.data)
        return cls(data, asked.model, asked.role, asked.seed, asked.threads, asked.report_to, table)


def train_trees(asked: Imitation, folder: Path, console: Console) -> None:
    """Train a model on the runs of a file or an evaluation; it goes to folder/model.

    Raises UsageError for runs of another vocabulary and for a folder of another training.
    """
    args = configuration(folder, asked.seed, asked.report_to, asked.sft)
    check(folder, "trees")
    rows = examples(asked.data, asked.role)
    torch.set_num_threads(asked.threads)
    network, tokenizer = begin(asked.model)
    size = network.get_input_embeddings().weight.shape[0]
    most = max(max(*one["context"], *one["sampled"]) for r in rows for one in r["requests"])
    if most >= size:
        raise UsageError(
            f"{asked.data} has the token {most}, and {asked.model} only {size}: another model's?"
        )
    with checkpoint.locked(folder):
        claim(folder, "trees", _described(asked, rows))
        trainer = trainer_of(network, tokenizer, rows, args)
        trainer.remove_callback(PrinterCallback)
        last = newest(folder)
        if last and (folder / "model").is_dir():
            said = f"finished before, at step {steps_of(last)}: the model is in {folder / 'model'}"
            console.print(said, markup=False, soft_wrap=True)
            return
        last = going_on(folder, console)
        if not last:
            console.print(f"{len(rows):,} runs, into {folder}", markup=False, soft_wrap=True)
        with writing(folder, "sft.save_steps"), Telling(folder, console) as telling:
            trainer.add_callback(telling)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        with writing(folder, "sft.save_steps"):
            trainer.save_model(str(folder / "model"))
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)


class Telling(TrainerCallback):  # type: ignore[misc]
    """Loss to the log, and to the console as a bar or as lines."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder, self._console = folder, console
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("first step", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update(self._task, completed=state.global_step, total=state.max_steps)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if (self._folder / "log.jsonl").exists():
            draw({"run": logs_of(self._folder)}, self._folder / "curves.png")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        log(self._folder, state.global_step, logs)
        self._bar.update(self._task, description=f"loss {logs['loss']:.4f}")
        if not self._console.is_terminal:
            said = f"{state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}"
            self._console.print(said, markup=False, highlight=False)


def _described(asked: Imitation, rows: Sequence[Example]) -> Values:
    """All that the weights depend on, as config.json holds it."""
    digest = hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()
    free = ("save_steps", "save_total_limit", "logging_steps")
    return {
        "model": asked.model,
        "runs": {"count": len(rows), "sha256": digest},
        "seed": asked.seed,
        "sft": {name: value for name, value in asked.sft.items() if name not in free},
    }
