"""`reason train grpo`: a GRPO run from a recipe, into a folder, gone on with where it stopped."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback
from trl import GRPOConfig

from controllers.methods import fitted
from eval.folder import settle_config
from reason.run import described, titled
from rl import checkpoint
from rl.display import Display
from rl.grpo import TreeGRPOTrainer
from rl.grpo_log import Telling, greedy
from rl.grpo_recipe import Plan
from rl.rollouts import Rollouts
from rl.sampler import Embedded
from rl.trl_config import configured
from rl.trl_run import begin, newest, steps_of

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
    model, tokenizer = begin(recipe.model, recipe.dtype)
    ranks = PartialState(cpu=not torch.cuda.is_available())
    first = ranks.is_main_process
    console = console if first else Console(quiet=True)
    with checkpoint.locked(folder) if first else nullcontext():
        if first:
            settle_config(folder / "config.json", _described(plan), begun=False, what="training")
        ranks.wait_for_everyone()
        sampler = Embedded.of(model, tokenizer, name=recipe.model, max_batch=256)
        info = sampler.backend.info
        scorers = ("verifier", "likelihood")
        method = fitted(plan.method, plan.tables, info, scorers)
        other = plan.alternate and fitted(plan.alternate, plan.tables, info, scorers)
        items = plan.problems(info.grammar)
        rollouts = Rollouts(
            method,
            {"policy": sampler.backend},
            items,
            budget=plan.budget,
            trained=plan.tree.trained,
            alternate=other,
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
        last = newest(folder)
        if 0 < trainer.args.max_steps <= steps_of(last) and (folder / "model").is_dir():
            said = f"finished before: the model is in {folder / 'model'}"
            console.print(said, markup=False, soft_wrap=True)
            return
        if last:
            console.print(f"going on from {last}", markup=False, soft_wrap=True)
        with Display(console, titled(method), Path(recipe.model).name) as display:
            if first:
                trainer.add_callback(Telling(trainer, plan, greedy(method), folder, display))
                rollouts.watch = display.watch
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        trainer.save_model(str(folder / "model"))
        rollouts.do(sampler.backend.close())
        rollouts.close()
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)


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
        **({"alternate": described(plan.alternate)} if plan.alternate else {}),
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
