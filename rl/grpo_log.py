"""What a GRPO run tells as it goes: rows of the log and the picture; and when it is measured."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from transformers import TrainerCallback

from rl.curves import draw, logs_of
from rl.display import Display
from rl.log import log

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
DRAW_SECONDS = 30.0
"""Between two pictures, at least: one takes as long as a step of a small model."""


class Unsaid(logging.Filter):
    """Keeps TRL from printing all of a rollout that has no reward, such as one in which a model
    failed: `rollout/failed` tells of those."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "All reward functions returned None" not in record.getMessage()


UNSAID = Unsaid()


class Measuring(TrainerCallback):  # type: ignore[misc]
    """Calls `measure` with the step before the first, after every so many and after the last; 0 for
    never. In all processes that train, or weights could not be put together."""

    def __init__(self, measure: Callable[[int], None], every: int) -> None:
        self._measure, self._every = measure, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._every and not state.global_step:
            self._measure(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step = state.global_step
        if self._every and (step % self._every == 0 or step == state.max_steps):
            self._measure(step)


class Telling(TrainerCallback):  # type: ignore[misc]
    """Figures to the display, the log and the picture."""

    def __init__(self, folder: Path, display: Display, warnings: list[str] | None = None) -> None:
        """`warnings` are passed on with the row of a step, then taken out."""
        self._folder, self._display, self._warnings = folder, display, warnings
        self._drawn = -DRAW_SECONDS

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._draw()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.steps(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.steps(state.global_step, state.max_steps)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._display.refresh()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if "loss" not in logs:  # the last is of the whole training
            return
        warnings = [*self._warnings] if self._warnings else []
        log(self._folder, state.global_step, logs, "; ".join(warnings))
        if monotonic() - self._drawn >= DRAW_SECONDS:
            self._draw()
        shown = {word: logs[name] for word, name in SHOWN.items() if logs.get(name) is not None}
        told = "  ".join(f"{word} {value:,.4g}" for word, value in shown.items())
        self._display.figures(f"{state.global_step}/{state.max_steps}  {told}")
        for line in warnings:
            self._display.say(f"warning, step {state.global_step}: {line}")
        if self._warnings:
            self._warnings.clear()

    def _draw(self) -> None:
        self._drawn = monotonic()
        if (self._folder / "log.jsonl").exists():  # a run of no step has none
            draw({"run": logs_of(self._folder)}, self._folder / "curves.png")
