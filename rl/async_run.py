"""`reason train grpo` with `ahead`: rollouts run ahead of TRL's asynchronous trainer."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from datasets import Dataset
from rich.console import Console
from transformers import PrinterCallback

from controllers.methods import fitted
from reason.run import titled
from rl import checkpoint
from rl.async_grpo import trainer_of
from rl.async_worker import RolloutWorker
from rl.claim import check, claim
from rl.display import Display
from rl.grpo_log import Measuring, Telling
from rl.grpo_recipe import Plan
from rl.heldout import Heldout
from rl.resume import going_on, writing
from rl.rollouts import Rollouts
from rl.sampler import reached
from rl.trl_run import finished, place_of, steps_of, tied_once, tokenizer_of
from rl.weight_transfer import WeightTransfer, servers_of, way_of


def train_ahead(plan: Plan, folder: Path, console: Console) -> None:
    """As `train_grpo`, with servers that sample while this process computes.

    Raises UsageError for a recipe that cannot be carried out and for a folder of another one,
    TrainingError where rollouts end; checkpoints stand.
    """
    recipe, settings = plan.recipe, plan.arguments(folder)
    check(folder, "grpo", plan.described())
    tokenizer = tokenizer_of(recipe.model)
    # The worker's loop and that of evaluations are different ones: each has clients of its own.
    sampling, measuring = reached(recipe.backend), reached(recipe.backend)
    info = sampling.info
    method = fitted(plan.method, plan.tables, info, ("verifier", "likelihood"))
    items = plan.problems(info.grammar)
    rollouts = Rollouts(
        method,
        {"policy": sampling},
        items,
        budget=plan.budget,
        concurrency=recipe.concurrency,
    )
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        stack.callback(lambda: runner.run(measuring.close()))
        held = Heldout(recipe, method, plan.budget, {"policy": measuring}, folder, runner.run)
        # All that can be wrong is known: from here on the folder is written to.
        stack.enter_context(checkpoint.locked(folder))
        claim(folder, "grpo", plan.described())
        if finished(folder, settings.max_steps, console):
            return
        last = going_on(folder, console)
        stack.enter_context(writing(folder, "grpo.save_steps"))
        worker = RolloutWorker(
            rollouts,
            plan.rewards,
            group=settings.num_generations,
            ahead=recipe.ahead,
            most=settings.queue_maxsize,
            seed=f"{recipe.seed}/{steps_of(last)}",
        )
        display = stack.enter_context(Display(console, titled(method), Path(recipe.model).name))
        trainer = trainer_of(
            place_of(recipe.model),
            settings,
            train_dataset=Dataset.from_dict({"prompt": [item.prompt for item in items]}),
            processing_class=tokenizer,
            rollout_worker=worker,
            weight_transfer=WeightTransfer(
                [server.url for server in servers_of(sampling)],
                way_of(recipe.transfer, place_of(recipe.model), folder),
            ),
        )
        tied_once(trainer.accelerator.unwrap_model(trainer.model))
        trainer.remove_callback(PrinterCallback)  # `Telling` does it
        every = recipe.evaluate_every
        trainer.add_callback(Measuring(lambda step: display.say(held.measure(step)), every))
        trainer.add_callback(Telling(folder, display))
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        trainer.save_model(str(folder / "model"))
    console.print(f"the model is in {folder / 'model'}", markup=False, soft_wrap=True)
