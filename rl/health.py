"""Whether a training can go on, and what its user should hear of it."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from reason.errors import TrainingError
from rl.figures import Facts
from rl.resume import anew, kept, sentence
from rl.rollouts import Rollout


class Health:
    """Of a run whose checkpoints are in folder/checkpoints."""

    def __init__(self, folder: Path, patience: int) -> None:
        self._folder, self._patience, self._broken = folder, patience, 0
        self._told: set[str] = set()
        self.warnings: list[str] = []
        """What was not passed on yet; each comes once."""

    def warn(self, line: str) -> None:
        """Have it passed on, if it was not before."""
        if line not in self._told:
            self._told.add(line)
            self.warnings.append(line)

    def rollouts(self, facts: Sequence[Facts], own: Sequence[Rollout]) -> None:
        """Those of a step, of all processes. One without a rollout that worked teaches nothing;
        several are no accident, and raise TrainingError."""
        broken = all(fact["rollout/failed"] for fact in facts)
        self._broken = self._broken + 1 if broken else 0
        if self._broken >= self._patience:
            raise TrainingError(
                f"every rollout of {self._broken} steps in a row failed, the last with: "
                f"{own[-1].run.error or 'a thread that failed'}; mend the model's server. "
                f"{sentence(kept(self._folder, 'grpo.save_steps'))}"
            )
        if not broken and all(fact["rollout/unanswered"] for fact in facts):
            self.warn("no rollout of this step has an answer")

    def loss(self, value: float, step: int, rollouts: Sequence[Rollout]) -> None:
        """Raises TrainingError for a loss that is no number, naming the problems of its batch."""
        if not isfinite(value):
            names = ", ".join(sorted({rollout.item.title for rollout in rollouts}))
            raise TrainingError(
                f"the loss became {value} in step {step}, on {names}; {anew(self._folder)}"
            )

    def gradient(self, norm: object, step: int) -> None:
        """Raises TrainingError for one that is no number: the weights are none any more, either,
        and no checkpoint of them may be written."""
        if isinstance(norm, int | float) and not isfinite(norm):
            raise TrainingError(
                f"the norm of the gradient became {norm} in step {step}; {anew(self._folder)}"
            )
