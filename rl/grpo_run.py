"""`reason train grpo`: a GRPO run from a recipe, into a folder, gone on with where it stopped."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig

from controllers.methods import fitted
from eval.folder import settle_config
from eval.runner import evaluate
from eval.tasks import parse_tasks, task_of
from reason.backends.connect import MODELS
from reason.backends.hf_load import load_pair
from reason.errors import UsageError
from reason.run import Controller, described
from reason.types import SamplingParams
from rl import checkpoint
from rl.curves import draw
from rl.grpo import TreeGRPOTrainer
from rl.grpo_recipe import Plan
from rl.rollouts import Rollouts
from rl.sampler import Embedded
from rl.trl_config import configured

DEFAULTS = {
    "per_device_train_batch_size": 16,
    "num_generations": 8,
    "max_completion_length": 4096,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_steps": 20,
    "save_total_limit": 2,
    "disable_tqdm": True,
    # Ranks pack different numbers of rows: a forward pass must not wait for the others' buffers.
    "ddp_broadcast_buffers": False,
}
"""Of TRL's keys, where a recipe says nothing."""


def train_grpo(plan: Plan, folder: Path, console: Console) -> None:
    """Run the recipe to its end, from wherever `folder` stands; the model goes to folder/model.

    Raises UsageError for a recipe that cannot be carried out and for a folder of another one,
    TrainingError where a run cannot go on; its checkpoints stand.
    """
    recipe, settings = plan.recipe, _arguments(plan, folder)
    torch.set_num_threads(recipe.threads)
    shipped = MODELS / recipe.model
    place = str(shipped) if shipped.is_dir() else recipe.model
    model, tokenizer = load_pair(
        place, recipe.dtype, "cuda" if torch.cuda.is_available() else "cpu"
    )
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise UsageError(f"{recipe.model} has no token for the end or none for padding: name them")
    ranks = PartialState(cpu=not torch.cuda.is_available())
    first = ranks.is_main_process
    console = console if first else Console(quiet=True)
    with checkpoint.locked(folder) if first else nullcontext():
        if first:
            settle_config(folder / "config.json", _described(plan), begun=False, what="training")
        ranks.wait_for_everyone()
        sampler = Embedded.of(model, tokenizer, name=recipe.model, max_batch=256)
        info = sampler.backend.info
        method = fitted(plan.method, plan.tables, info, ("verifier", "likelihood"))
        items = plan.problems(info.grammar)
        rollouts = Rollouts(
            method,
            {"policy": sampler.backend},
            items,
            budget=plan.budget,
            concurrency=recipe.concurrency,
        )
        trainer = TreeGRPOTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": [item.prompt for item in items]}),
            processing_class=tokenizer,
            rollouts=rollouts,
            sampler=sampler,
            rewards=plan.rewards,
            options=plan.tree,
        )
        trainer.remove_callback(PrinterCallback)  # `Telling` does it
        if first:
            trainer.add_callback(Telling(trainer, plan, method, folder, console))
        last = _last(folder)
        steps = int(last.name.rpartition("-")[2]) if last else 0
        if 0 < trainer.args.max_steps <= steps and (folder / "model").is_dir():
            said = f"finished before: the model is in {folder / 'model'}"
            console.print(said, markup=False, soft_wrap=True)
            return
        if last:
            console.print(f"going on from {last}", markup=False, soft_wrap=True)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        trainer.save_model(str(folder / "model"))
        rollouts.do(sampler.backend.close())
        rollouts.close()
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)


class Telling(TrainerCallback):  # type: ignore[misc]
    """Figures to the console, the log and the picture; held-out problems every now and then."""

    def __init__(
        self,
        trainer: TreeGRPOTrainer,
        plan: Plan,
        method: Controller,
        folder: Path,
        console: Console,
    ) -> None:
        self._trainer, self._plan, self._folder, self._console = trainer, plan, folder, console
        self._greedy = greedy(method)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._plan.recipe.evaluate_every and not state.global_step:
            self._measure(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        every = self._plan.recipe.evaluate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._measure(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if "reward" not in logs and "heldout/accuracy" not in logs:
            return
        row = {"step": state.global_step, **_plain(logs)}
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        draw(logs_of(self._folder), self._folder / "curves.png")
        if "reward" in row:
            shown = {
                "reward": row["reward"],
                "right": row.get("rollout/correct"),
                "children": row.get("rollout/children"),
                "path": row.get("rollout/critical_path"),
                "tokens": row.get("rollout/total_tokens"),
                "entropy": row.get("entropy"),
                "seconds": row.get("step_time"),
            }
            told = "  ".join(f"{k} {v:,.4g}" for k, v in shown.items() if v is not None)
            said = f"{state.global_step}/{state.max_steps}  {told}"
            self._console.print(said, markup=False, highlight=False, soft_wrap=True)

    def _measure(self, state: Any) -> None:
        """Accuracy on held-out problems, greedy, as `reason eval` measures it."""
        trainer, recipe, step = self._trainer, self._plan.recipe, state.global_step
        out = self._folder / "heldout" / f"step-{step}"
        rollouts = trainer.rollouts
        model = trainer.accelerator.unwrap_model(trainer.model)
        rollouts.do(trainer.sampler.send(model, step))
        (asked,) = parse_tasks(recipe.evaluate_task or recipe.task)
        grammar = rollouts.backends["policy"].info.grammar
        items = [*task_of(asked.name).items(recipe.evaluate_limit, 0, grammar)]
        metrics = rollouts.do(
            evaluate(
                self._greedy,
                items,
                rollouts.backends,
                out,
                config={"step": step, "task": asked.title, "controller": described(self._greedy)},
                budget=rollouts.budget,
                concurrency=recipe.concurrency,
                trees=False,
            )
        )
        found = {
            "heldout/accuracy": metrics.accuracy.value,
            "heldout/critical_path": metrics.critical_path.mean,
            "heldout/total_tokens": metrics.tokens_per_sample.mean,
            "heldout/threads": metrics.threads.mean,
        }
        low, high = metrics.accuracy.low, metrics.accuracy.high
        self._console.print(
            f"{step} held out: {metrics.accuracy.value:.1%} [{100 * low:.1f}, {100 * high:.1f}], "
            f"critical path {metrics.critical_path.mean:,.0f}, "
            f"tokens {metrics.tokens_per_sample.mean:,.0f}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **found}) + "\n")


def greedy(method: Controller) -> Controller:
    """The same method without chance."""
    changed: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if isinstance(value, SamplingParams):
            changed[field.name] = value.but(temperature=0.0)
        elif is_dataclass(value) and callable(value):
            changed[field.name] = greedy(value)  # type: ignore[arg-type]
    return replace(method, **changed)


def logs_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; of a step that was done again, the last."""
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in (folder / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows[row["step"], "reward" in row] = row
    return [rows[key] for key in sorted(rows)]


def _plain(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}


def _described(plan: Plan) -> dict[str, Any]:
    """All that the weights depend on, as config.json holds it."""
    recipe = asdict(plan.recipe)
    for name in ("report_to", "evaluate_every", "evaluate_task", "evaluate_limit", "threads"):
        del recipe[name]
    grpo = {k: v for k, v in plan.grpo.items() if k not in ("save_steps", "save_total_limit")}
    budget = {k: v for k, v in asdict(plan.budget).items() if v != float("inf")}
    return {
        "recipe": recipe,
        "controller": described(plan.method),
        "budget": budget,
        "rewards": {name: weight for name, (_, weight) in plan.rewards.items()},
        "tree": asdict(plan.tree),
        "grpo": grpo,
    }


def _arguments(plan: Plan, folder: Path) -> Any:
    recipe, on_gpu = plan.recipe, torch.cuda.is_available()
    given = {**DEFAULTS, "bf16": False, "use_cpu": not on_gpu, **plan.grpo}
    return configured(
        GRPOConfig,
        "grpo",
        output_dir=str(folder / "checkpoints"),
        seed=recipe.seed,
        report_to=[] if recipe.report_to == "none" else [recipe.report_to],
        **given,
    )


def _last(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    found = [
        path
        for path in (folder / "checkpoints").glob("checkpoint-*")
        if (path / "trainer_state.json").exists()
    ]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
