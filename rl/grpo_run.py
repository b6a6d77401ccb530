"""`reason train grpo`: a GRPO run from a recipe, into a folder, gone on with where it stopped."""

from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback

from controllers.methods import fitted
from reason.run import titled
from rl import checkpoint
from rl.claim import check, claim
from rl.display import Display
from rl.grpo import TreeGRPOTrainer
from rl.grpo_log import Measuring, Telling
from rl.grpo_recipe import Plan
from rl.heldout import Heldout
from rl.resume import going_on, writing
from rl.rollouts import Rollouts
from rl.sampler import Embedded, Sampler, Served, reached
from rl.trl_run import begin, finished, place_of
from rl.weight_transfer import way_of


def train_grpo(plan: Plan, folder: Path, console: Console) -> None:
    """Run the recipe to its end, from wherever `folder` stands; the model goes to folder/model.

    Raises UsageError for a recipe that cannot be carried out and for a folder of another one,
    TrainingError where a run cannot go on; its checkpoints stand.
    """
    recipe, settings = plan.recipe, plan.arguments(folder)
    check(folder, "grpo", plan.described())
    torch.set_num_threads(recipe.threads)
    model, tokenizer = begin(recipe.model, recipe.dtype)
    ranks = PartialState(cpu=not torch.cuda.is_available())
    first = ranks.is_main_process
    console = console if first else Console(quiet=True)
    sampler: Sampler
    if recipe.backend:
        way = way_of(recipe.transfer, place_of(recipe.model), folder)
        sampler = Served(reached(recipe.backend), way, first)
    else:
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
    held = Heldout(recipe, method, plan.budget, rollouts.backends, folder, rollouts.do)
    # All that can be wrong is known: from here on the folder is written to.
    with checkpoint.locked(folder) if first else nullcontext():
        if first:
            claim(folder, "grpo", plan.described())
        ranks.wait_for_everyone()
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
        if finished(folder, trainer.args.max_steps, console):
            return
        last = going_on(folder, console, first)
        with (
            writing(folder, "grpo.save_steps"),
            Display(console, titled(method), Path(recipe.model).name) as display,
        ):

            def measure(step: int) -> None:
                trainer.send_weights()
                if first:
                    display.say(held.measure(step))

            trainer.add_callback(Measuring(measure, recipe.evaluate_every))
            if first:
                trainer.add_callback(Telling(folder, display, trainer.health.warnings))
                rollouts.watch = display.watch
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        with writing(folder, "grpo.save_steps"):
            trainer.save_model(str(folder / "model"))
        rollouts.do(sampler.close())
        rollouts.close()
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)
