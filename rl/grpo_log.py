"""What a GRPO run tells as it goes: rows of the log and the picture; and when it is measured."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from transformers import TrainerCallback

from rl.curves import draw, logs_of
from rl.display import Display
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
DRAW_SECONDS = 30.0
"""Between two pictures, at least: one takes as long as a step of a small model."""


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

    def __init__(self, folder: Path, display: Display) -> None:
        self._folder, self._display = folder, display
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
        log(self._folder, state.global_step, logs)
        if monotonic() - self._drawn >= DRAW_SECONDS:
            self._draw()
        shown = {word: logs[name] for word, name in SHOWN.items() if logs.get(name) is not None}
        told = "  ".join(f"{word} {value:,.4g}" for word, value in shown.items())
        self._display.figures(f"{state.global_step}/{state.max_steps}  {told}")

    def _draw(self) -> None:
        self._drawn = monotonic()
        if (self._folder / "log.jsonl").exists():  # a run of no step has none
            draw({"run": logs_of(self._folder)}, self._folder / "curves.png")
