"""Supervised training of a Countdown model from scratch, in stages, resumable.

Muon for the matrices and AdamW for embeddings and norms; bf16 autocast over fp32 weights. A
checkpoint is written after every block of batches and a run that was stopped goes on from it with
the same data, so that stopping changes nothing but the time.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from eval.progress import duration
from reason.errors import TrainingError, UsageError
from rl.batches import Batch, block
from rl.fast_llama import FastLlama
from rl.traces import Mixture
from rl.vocabulary import ID, SIZE, save_tokenizer

GRAMMAR = "countdown"


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the Llama that is trained."""

    hidden: int = 128
    layers: int = 4
    intermediate: int = 384
    head: int = 64
    context: int = 2048


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training with one mixture of data and one learning-rate schedule."""

    name: str
    blocks: int
    muon: float
    """Peak learning rate of the matrices."""
    adamw: float
    """Peak learning rate of everything else."""
    mixture: Mixture = field(default_factory=Mixture)
    warmup: int = 50
    """Steps."""
    decay_from: float = 0.5
    """Share of the stage after which the rate falls linearly, to `floor` of its peak."""
    floor: float = 0.02


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run."""

    stage: tuple[Stage, ...]
    shape: Shape = field(default_factory=Shape)
    start: str = ""
    """A checkpoint folder to start from, instead of random weights."""
    batch: int = 1920
    """Tokens per step, padding included."""
    block: int = 500
    """Steps per block, which is also the distance between checkpoints."""
    threads: int = 1
    compile: bool = True
    seed: int = 0


def new_model(shape: Shape, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights; the same for the same seed."""
    torch.manual_seed(seed)
    heads = shape.hidden // shape.head
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=SIZE,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=shape.head,
            max_position_embeddings=shape.context,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            pad_token_id=ID["<pad>"],
            bos_token_id=ID["<bos>"],
            eos_token_id=ID["<eos>"],
            reason_grammar=GRAMMAR,
        )
    )
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            gain = 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.7
            std = 0.02 if "embed" in name else gain / math.sqrt(weight.shape[1])
            torch.nn.init.normal_(weight, std=std)
    return model


class Training:
    """A run in `folder`: weights and optimiser state, advanced block by block."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder, self.done, self.tokens = recipe, folder, 0, 0
        torch.set_num_threads(recipe.threads)
        if recipe.start:
            self.model = LlamaForCausalLM.from_pretrained(recipe.start, dtype=torch.float32)
        else:
            self.model = new_model(recipe.shape, recipe.seed)
        self.model.train()
        self.fast = FastLlama(self.model, torch.bfloat16, recipe.compile)
        self.stage = -1
        self._optimizers: list[torch.optim.Optimizer] = []
        self._resume()

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

        Raises TrainingError if the loss is no number; the checkpoint before the block stands.
        """
        recipe, total, losses = self.recipe, stage.blocks * self.recipe.block, []
        data = block(stage.mixture, recipe.batch, recipe.block, f"{recipe.seed}/{number}")
        for step, batch in enumerate(data, before * recipe.block):
            done = step / total
            factor = min(1.0, (step + 1) / stage.warmup)
            if done > stage.decay_from:
                factor *= max(stage.floor, (1 - done) / (1 - stage.decay_from))
            losses.append(self.step(batch, factor))
            on_step()
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss became {mean} in block {number}, stage {stage.name}; the checkpoint "
                f"after block {number - 1} is kept in {self.folder}: lower the learning rates"
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

    def save(self, losses: dict[str, float]) -> None:
        """Write weights, optimiser state and progress; a crash in between leaves the last ones."""
        partial = self.folder / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self._state().items()}, partial / "state")
        progress = {
            "done": self.done,
            "stage": self.stage,
            "tokens": self.tokens,
            "recipe": asdict(self.recipe),
            **losses,
        }
        (partial / "state").replace(self.folder / f"state-{self.done}.safetensors")
        (partial / "progress").write_text(json.dumps(progress))
        (partial / "progress").replace(self.folder / "progress.json")
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != f"state-{self.done}.safetensors":
                old.unlink()

    def _state(self) -> dict[str, torch.Tensor]:
        tensors = {f"model/{name}": p.detach() for name, p in self.model.named_parameters()}
        for number, optimizer in enumerate(self._optimizers):
            for index, entry in optimizer.state_dict()["state"].items():
                for key, value in entry.items():
                    tensors[f"optimizer/{number}/{index}/{key}"] = torch.as_tensor(value)
        return tensors

    def _resume(self) -> None:
        file = self.folder / "progress.json"
        if not file.exists():
            return
        progress = json.loads(file.read_text())
        now = json.loads(json.dumps(asdict(self.recipe)))
        changed = [key for key, value in now.items() if progress["recipe"].get(key) != value]
        if changed:
            raise UsageError(
                f"{self.folder} holds a run whose {', '.join(changed)} differ from this recipe: "
                "give another --out, or the recipe it was started with"
            )
        self.done, self.tokens = progress["done"], progress["tokens"]
        tensors = load_file(self.folder / f"state-{self.done}.safetensors")
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


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model in bf16 with its tokenizer, as AutoModelForCausalLM and SGLang load it."""
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.save_pretrained(str(folder))
    save_tokenizer(folder)


def train(recipe: Recipe, folder: Path, console: Console) -> None:
    """Run the recipe to its end, from wherever `folder` stands; the model goes to folder/model.

    Every block adds a row to folder/log.jsonl: loss, tokens and tokens per second.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error
    run = Training(recipe, folder)
    blocks, steps = sum(stage.blocks for stage in recipe.stage), recipe.block
    done = f", {run.done} done" if run.done else ""
    slow = "; the first step compiles, for a minute or two" if recipe.compile else ""
    plan = f"{blocks} blocks of {steps} steps into {folder}{done}{slow}"
    console.print(plan, markup=False, soft_wrap=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
            run.save({"loss": loss})
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
                console.print(f"{said}, about {left} left", soft_wrap=True)
    export(run.model, folder / "model")
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)
