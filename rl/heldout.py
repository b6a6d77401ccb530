"""Held-out problems during training: accuracy without chance, as `reason eval` measures it."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from eval.runner import evaluate
from eval.tasks import parse_tasks, task_of
from reason.backends.base import Backend
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller, described
from reason.types import SamplingParams
from rl.grpo_recipe import GrpoRecipe, drawn
from rl.log import log


class Heldout:
    """Evaluations of a run's folder, heldout/step-N each. `do` awaits them in the loop in which the
    backends live."""

    def __init__(
        self,
        recipe: GrpoRecipe,
        method: Controller,
        budget: Budget | None,
        backends: Mapping[str, Backend],
        folder: Path,
        do: Callable[[Coroutine[Any, Any, Any]], Any],
    ) -> None:
        """Raises UsageError for a task that does not exist."""
        self._recipe, self._method, self._budget = recipe, greedy(method), budget
        self._backends, self._folder, self._do = backends, folder, do
        key = "evaluate_task" if recipe.evaluate_task else "task"
        asked = parse_tasks(recipe.evaluate_task or recipe.task)
        if len(asked) != 1:
            raise UsageError(f"one task to evaluate on, got {len(asked)}: {key}=NAME")
        (self._task,) = asked
        grammar = backends["policy"].info.grammar
        self._items = drawn(task_of(self._task.name), key, recipe.evaluate_limit, 0, grammar)

    def measure(self, step: int) -> str:
        """Evaluate, add to the log, and say it in a line."""
        metrics = self._do(
            evaluate(
                self._method,
                self._items,
                self._backends,
                self._folder / "heldout" / f"step-{step}",
                config={
                    "step": step,
                    "task": self._task.title,
                    "controller": described(self._method),
                },
                budget=self._budget,
                concurrency=self._recipe.concurrency,
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
        return (
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
