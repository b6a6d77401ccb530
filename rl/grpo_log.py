"""What a GRPO run tells as it goes: rows of the log, the picture, held-out problems."""

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from eval.runner import evaluate
from eval.tasks import parse_tasks, task_of
from reason.run import Controller, described
from reason.types import SamplingParams
from rl.curves import draw
from rl.display import Display
from rl.grpo import TreeGRPOTrainer
from rl.grpo_recipe import Plan
from rl.trl_run import log

SHOWN = {
    "reward": "reward",
    "right": "rollout/correct",
    "children": "rollout/children",
    "path": "rollout/critical_path",
    "tokens": "rollout/total_tokens",
    "entropy": "entropy",
    "seconds": "step_time",
}
"""Figures of the log that are shown, by the words for them."""


class Telling(TrainerCallback):  # type: ignore[misc]
    """Figures to the display, the log and the picture; held-out problems every now and then."""

    def __init__(
        self,
        trainer: TreeGRPOTrainer,
        plan: Plan,
        measured: Controller,
        folder: Path,
        display: Display,
    ) -> None:
        self._trainer, self._plan, self._folder, self._display = trainer, plan, folder, display
        self._measured = measured

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.steps(state.global_step, state.max_steps)
        if self._plan.recipe.evaluate_every and not state.global_step:
            self._measure(state)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.refresh()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.steps(state.global_step, state.max_steps)
        every = self._plan.recipe.evaluate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._measure(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if "reward" not in logs:
            return
        log(self._folder, state.global_step, logs)
        draw(logs_of(self._folder), self._folder / "curves.png")
        shown = {word: logs[name] for word, name in SHOWN.items() if name in logs}
        told = "  ".join(f"{word} {value:,.4g}" for word, value in shown.items())
        self._display.figures(f"{state.global_step}/{state.max_steps}  {told}")

    def _measure(self, state: Any) -> None:
        """Accuracy on held-out problems, greedy, as `reason eval` measures it."""
        trainer, recipe, step = self._trainer, self._plan.recipe, state.global_step
        rollouts, method = trainer.rollouts, self._measured
        model = trainer.accelerator.unwrap_model(trainer.model)
        rollouts.do(trainer.sampler.send(model, step))
        (asked,) = parse_tasks(recipe.evaluate_task or recipe.task)
        grammar = rollouts.backends["policy"].info.grammar
        items = [*task_of(asked.name).items(recipe.evaluate_limit, 0, grammar)]
        metrics = rollouts.do(
            evaluate(
                method,
                items,
                rollouts.backends,
                self._folder / "heldout" / f"step-{step}",
                config={"step": step, "task": asked.title, "controller": described(method)},
                budget=rollouts.budget,
                concurrency=recipe.concurrency,
                trees=False,
            )
        )
        figures = {
            "heldout/accuracy": metrics.accuracy.value,
            "heldout/critical_path": metrics.critical_path.mean,
            "heldout/total_tokens": metrics.tokens_per_sample.mean,
            "heldout/threads": metrics.threads.mean,
        }
        log(self._folder, step, figures)
        low, high = metrics.accuracy.low, metrics.accuracy.high
        self._display.say(
            f"{step} held out: {metrics.accuracy.value:.1%} [{100 * low:.1f}, {100 * high:.1f}], "
            f"critical path {metrics.critical_path.mean:,.0f}, "
            f"tokens {metrics.tokens_per_sample.mean:,.0f}"
        )


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
