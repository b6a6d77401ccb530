"""Supervised training of a Countdown model from scratch, in stages, resumable.

Muon for the matrices and AdamW for embeddings and norms; bf16 autocast over fp32 weights. A
checkpoint is written after every block of batches and a run that was stopped goes on from it with
the same data, so that stopping changes nothing but the time.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eval.progress import duration
from reason.errors import TrainingError, UsageError
from rl import checkpoint
from rl.batches import Batch, block, fitting
from rl.claim import check, claim
from rl.fast_llama import FastLlama
from rl.model import export, load_model, new_model
from rl.recipe import Recipe, Stage


class Training:
    """A run in `folder`: weights and optimiser state, advanced block by block."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """Go on from where the folder stands; a run that has begun needs `recipe.start` no more.

        Raises UsageError for a run of another recipe, and for a start that is none.
        """
        self.recipe, self.folder, self.done, self.tokens = recipe, folder, 0, 0
        torch.set_num_threads(recipe.threads)
        progress = checkpoint.progress(folder)
        self.model = (
            load_model(recipe.start, recipe.shape, recipe.language)
            if recipe.start and progress is None
            else new_model(recipe.shape, recipe.seed, recipe.language)
        )
        self.model.train()
        self.fast = FastLlama(self.model, torch.bfloat16, recipe.compile)
        self.stage = -1
        self._optimizers: list[torch.optim.Optimizer] = []
        if progress is not None:
            self._resume(progress)

    def steps(self) -> Iterator[tuple[int, Stage, int]]:
        """(block, its stage, blocks of that stage before it) of all that is still to do."""
        number = 0
        for index, stage in enumerate(self.recipe.stage):
            for before in range(stage.blocks):
                if number >= self.done:
                    if index != self.stage:
                        self.start_stage(index)
                    yield number, stage, before
                number += 1

    def run_block(
        self, number: int, stage: Stage, before: int, on_step: Callable[[], object] = lambda: None
    ) -> float:
        """Train on one block, the `before`-th of its stage; the mean loss.

        Raises TrainingError if the loss or a weight is no number; the checkpoint before stands.
        """
        recipe, steps, losses = self.recipe, stage.blocks * self.recipe.block, []
        data = block(stage.data, recipe.batch, recipe.block, seed_of(recipe, number))
        for step, batch in enumerate(data, before * recipe.block):
            losses.append(self.step(batch, stage.factor(step, steps)))
            on_step()
        mean = float(torch.stack(losses).mean())
        whole = all(bool(p.isfinite().all()) for p in self.model.parameters())
        if not (math.isfinite(mean) and whole):
            what = "a weight became no number" if math.isfinite(mean) else f"the loss became {mean}"
            kept = f"the checkpoint before is kept in {self.folder}; " if number else ""
            raise TrainingError(
                f"{what} in block {number}, stage {stage.name}; {kept}give lower learning rates "
                "and another --out"
            )
        self.done = number + 1
        return mean

    def step(self, batch: Batch, factor: float) -> torch.Tensor:
        """One update at this share of the peak learning rates; the loss before it."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.fast.loss(torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.tokens += batch.tokens
        return loss.detach()

    def start_stage(self, index: int) -> None:
        """Begin a stage with fresh optimiser state."""
        stage, self.stage = self.recipe.stage[index], index
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.dim() == 2 and "embed" not in name]
        rest = [p for name, p in named if p.dim() != 2 or "embed" in name]
        self._optimizers = [
            torch.optim.Muon(
                matrices, lr=stage.muon, weight_decay=0.01, momentum=0.95, adjust_lr_fn="original"
            ),
            torch.optim.AdamW(rest, lr=stage.adamw, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        for optimizer, peak in zip(self._optimizers, (stage.muon, stage.adamw), strict=True):
            for group in optimizer.param_groups:
                group["peak"] = peak

    def save(self, loss: float) -> None:
        """Write a checkpoint; `loss` is that of the last block."""
        progress = {
            "done": self.done,
            "stage": self.stage,
            "tokens": self.tokens,
            "recipe": asdict(self.recipe),
            "loss": loss,
        }
        checkpoint.save(self.folder, self._state(), progress)

    def _state(self) -> checkpoint.Tensors:
        tensors = {f"model/{name}": p.detach() for name, p in self.model.named_parameters()}
        for number, optimizer in enumerate(self._optimizers):
            for index, entry in optimizer.state_dict()["state"].items():
                for key, value in entry.items():
                    tensors[f"optimizer/{number}/{index}/{key}"] = torch.as_tensor(value)
        return tensors

    def _resume(self, progress: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(asdict(self.recipe)))
        changed = [key for key, value in now.items() if progress["recipe"].get(key) != value]
        if changed:
            raise UsageError(
                f"{self.folder} holds a run whose {', '.join(changed)} differ from this recipe: "
                "give another --out, or the recipe it was started with"
            )
        self.done, self.tokens = progress["done"], progress["tokens"]
        tensors = checkpoint.tensors(self.folder, self.done)
        for name, p in self.model.named_parameters():
            p.data.copy_(tensors[f"model/{name}"])
        self.start_stage(progress["stage"])
        for number, optimizer in enumerate(self._optimizers):
            state = optimizer.state_dict()
            state["state"] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimizer/{number}/"):
                    _, _, index, key = name.split("/")
                    state["state"].setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(state)


def seed_of(recipe: Recipe, block: int) -> str:
    """The seed of a block's data."""
    return f"{recipe.seed}/{block}"


def train(recipe: Recipe, folder: Path, console: Console) -> None:
    """Run the recipe to its end, from wherever `folder` stands; the model goes to folder/model.

    Every block adds a row to folder/log.jsonl: loss, tokens and tokens per second. Raises
    UsageError for a recipe that cannot be carried out, before anything is trained, and for a
    folder in which another process trains.
    """
    check(folder, "sft")
    for index, stage in enumerate(recipe.stage):  # is there something to learn from?
        next(fitting(stage.data, recipe.batch, f"{recipe.seed}/check/{index}"))
    with checkpoint.locked(folder):
        claim(folder, "sft")
        _train(Training(recipe, folder), console)


def _train(run: Training, console: Console) -> None:
    recipe, folder = run.recipe, run.folder
    blocks, steps = sum(stage.blocks for stage in recipe.stage), recipe.block
    done = f", {run.done} done" if run.done else ""
    slow = "; the first step compiles, for a minute or two" if recipe.compile else ""
    plan = f"{blocks} blocks of {steps} steps into {folder}{done}{slow}"
    console.print(plan, markup=False, soft_wrap=True)
    shown_as = TextColumn("{task.description}", markup=False)
    columns = (shown_as, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        (folder / "log.jsonl").open("a") as log,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        shown, total = "", blocks * steps
        bar = progress.add_task("first step", total=total, completed=run.done * steps)
        for number, stage, before in run.steps():
            start, tokens = time.perf_counter(), run.tokens
            shown = f"{stage.name}{shown}"
            on_step = partial(progress.update, bar, advance=1, description=shown)
            loss = run.run_block(number, stage, before, on_step)
            run.save(loss)
            seconds = time.perf_counter() - start
            rate = round((run.tokens - tokens) / seconds)
            row = {
                "block": number,
                "stage": stage.name,
                "loss": round(loss, 5),
                "tokens": run.tokens,
                "tokens_per_second": rate,
                "seconds": round(seconds, 1),
            }
            log.write(json.dumps(row) + "\n")
            log.flush()
            shown = f"  loss {loss:.3f}  {rate:,} tok/s"
            if not console.is_terminal:
                left = duration(round(seconds * (blocks - number - 1)))
                said = f"{number + 1}/{blocks} {stage.name} loss {loss:.4f} {rate} tok/s"
                console.print(f"{said}, about {left} left", markup=False, soft_wrap=True)
    export(run.model, folder / "model")
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)
