"""What a GRPO run is made of: TOML with the method's keys on top, as in an evaluation, and tables
for TRL (`[grpo]`), for the packed rows (`[tree]`), for rewards (`[rewards]`, a weight each) and for
the method of every second group (`[alternate]`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from controllers.methods import method_named
from eval.item import Item
from eval.questions import Dataset
from eval.tasks import Countdown, Task, parse_tasks, task_of
from reason.config import Values, build
from reason.errors import UsageError
from reason.ledger import Budget
from reason.run import Controller, described
from reason.settings import method_of
from rl.rewards import Reward, reward_named
from rl.rollouts import check_sampling
from rl.tree_options import TreeOptions
from rl.trl_config import configured, reporting, settings

OURS = {
    "output_dir": "it is --out",
    "report_to": "it is the key report_to of the recipe",
    "seed": "it is the key seed of the recipe",
    "temperature": "rollouts are sampled at 1",
    "use_vllm": "rollouts are the engine's",
}
"""Keys of TRL's configuration that a recipe does not set, and why."""

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
FREE = (
    "backend",
    "concurrency",
    "transfer",
    "report_to",
    "evaluate_every",
    "evaluate_task",
    "evaluate_limit",
    "threads",
)
"""Keys of a recipe that weights do not depend on."""


@dataclass(frozen=True)
class GrpoRecipe:
    """The keys of a recipe beside those of the method, its budget and the three tables."""

    controller: str = "apr"
    model: str = "countdown-apr"
    """What is trained: a model that ships, or a path or name for transformers."""
    task: str = "countdown4"
    """Problems to learn from: the training part of a Countdown task, or a data set."""
    problems: int = 2000
    problems_seed: int = 0
    seed: int = 0
    backend: str = ""
    """The servers that rollouts are sampled from, as `--backend` of other commands takes them:
    sglang://HOST:PORT. Without it a copy of the model in this process."""
    transfer: Literal["broadcast", "disk"] = "broadcast"
    """How weights get there: by torch.distributed, or by the folder, which servers then share."""
    ahead: int = 0
    """Groups of rollouts that run ahead of the trainer, which is then TRL's asynchronous one; 0
    for rollouts and updates in turn."""
    concurrency: int = 64
    """Rollouts at the same time."""
    threads: int = 1
    """Of torch, on a CPU."""
    dtype: str = "float32"
    report_to: str = "none"
    """wandb, trackio, tensorboard, or none."""
    evaluate_every: int = 0
    """Steps between evaluations on held-out problems; 0 for none."""
    evaluate_task: str = ""
    """What they are of; by default the task."""
    evaluate_limit: int = 200

    def __post_init__(self) -> None:
        for name in ("problems", "concurrency", "threads", "evaluate_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("evaluate_every", "ahead"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.ahead and not self.backend:
            raise ValueError("ahead needs servers that sample meanwhile: give backend=sglang://…")

    @property
    def configuration(self) -> Any:
        """The class of TRL's configuration."""
        if self.ahead:
            from trl.experimental.async_grpo import AsyncGRPOConfig

            return AsyncGRPOConfig
        from trl import GRPOConfig

        return GRPOConfig


@dataclass(frozen=True)
class Plan:
    """A recipe, read and checked."""

    recipe: GrpoRecipe
    tables: Values
    method: Controller
    budget: Budget
    alternate: Controller | None
    """The method that answers every second group of prompts."""
    rewards: Mapping[str, tuple[Reward, float]]
    tree: TreeOptions
    grpo: Values

    @classmethod
    def of(cls, tables: Values) -> "Plan":
        """Raises UsageError for a key that nothing has, and for a value that cannot be."""
        below = {name: tables.get(name, {}) for name in ("grpo", "tree", "rewards", "alternate")}
        for name in ("tree", "rewards", "alternate"):
            if not isinstance(below[name], Mapping):
                raise UsageError(f"{name} has keys of its own: give {name}.KEY=VALUE")
        rest = {name: value for name, value in tables.items() if name not in below}
        own = {f.name for f in fields(GrpoRecipe)}
        recipe = build(GrpoRecipe, {k: v for k, v in rest.items() if k in own})
        for name in ("tree", "alternate"):
            if recipe.ahead and below[name]:
                raise UsageError(f"{name} cannot be had with ahead")
        chosen = method_named(recipe.controller)
        method, budget = method_of(GrpoRecipe, rest, chosen, method_named)
        alternate = _alternate(below["alternate"], rest)
        return cls(
            recipe,
            rest,
            method,
            budget,
            alternate,
            _weights(below["rewards"]),
            build(TreeOptions, below["tree"], at="tree."),
            settings(recipe.configuration, below["grpo"], OURS, "grpo"),
        )

    def described(self) -> Values:
        """All that the weights depend on, as config.json holds it. Where the learning rate does not
        know of the end, more steps can be asked for."""
        recipe = {k: v for k, v in asdict(self.recipe).items() if k not in FREE}
        constant = str(self.grpo.get("lr_scheduler_type", "linear")).startswith("constant")
        free = ("save_steps", "save_total_limit", *(["max_steps"] if constant else []))
        return {
            "recipe": recipe,
            "controller": described(self.method),
            **({"alternate": described(self.alternate)} if self.alternate else {}),
            "budget": {k: v for k, v in asdict(self.budget).items() if v != float("inf")},
            "rewards": {name: weight for name, (_, weight) in self.rewards.items()},
            "tree": asdict(self.tree),
            "grpo": {k: v for k, v in self.grpo.items() if k not in free},
        }

    def arguments(self, folder: Path) -> Any:
        """TRL's configuration for a run into that folder. Raises UsageError for what does not go
        together, and for a method that does not sample as it is trained."""
        import torch

        for each in (self.method, *([self.alternate] if self.alternate else [])):
            check_sampling(each)

        recipe, cls = self.recipe, self.recipe.configuration
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in DEFAULTS.items() if name in known}
        given |= {"bf16": False, "use_cpu": not torch.cuda.is_available(), **self.grpo}
        return configured(
            cls,
            "grpo",
            output_dir=str(folder / "checkpoints"),
            seed=recipe.seed,
            report_to=reporting(recipe.report_to),
            **given,
        )

    def problems(self, grammar: str) -> list[Item]:
        """What is learnt from, for a model of that grammar."""
        (asked,) = _one(parse_tasks(self.recipe.task))
        task = task_of(asked.name)
        if isinstance(task, Countdown):
            if task.split != "test":
                raise UsageError(
                    f"{asked.name} is held out to measure with: learn from countdown{task.numbers}"
                )
            task = replace(task, split="train")
        return drawn(task, "task", self.recipe.problems, self.recipe.problems_seed, grammar)


def drawn(task: Task, key: str, limit: int, seed: int, grammar: str) -> list[Item]:
    """The problems of a task that a recipe names by that key. Raises UsageError for a file that is
    not there, and for problems that the model cannot be asked."""
    if isinstance(task, Dataset) and task.file is not None and not task.file.is_file():
        raise UsageError(
            f"{key}={task.file}: there is no such file; give one of problems, or a "
            f"task by name, such as countdown4"
        )
    try:
        return [*task.items(limit, seed, grammar)]
    except UsageError as error:
        # The words are those of commands that ask a model; here it is trained.
        told = str(error).replace("connect a general model: --backend hf:", "train another: model=")
        raise UsageError(told) from error


def _one(tasks: list[Any]) -> list[Any]:
    if len(tasks) != 1:
        raise UsageError(f"one task to learn from, got {len(tasks)}")
    return tasks


def _alternate(table: Values, above: Values) -> Controller | None:
    """Sampled as the method above, unless it says otherwise."""
    if not table:
        return None
    knobs = {name: value for name, value in table.items() if name != "controller"}
    if "controller" not in table:
        raise UsageError("alternate needs a method: give alternate.controller=NAME")
    chosen = method_named(str(table["controller"]))
    if "sampling" in above and "sampling" in {field.name for field in fields(chosen)}:
        knobs = {"sampling": above["sampling"], **knobs}
    return method_of(GrpoRecipe, knobs, chosen, method_named)[0]


def _weights(table: Mapping[str, Any]) -> dict[str, tuple[Reward, float]]:
    found = {}
    for name, weight in (table or {"correctness": 1.0}).items():
        try:
            number = float(weight)
        except (TypeError, ValueError):
            number = float("nan")
        if not isfinite(number):
            raise UsageError(f"rewards.{name} must be a weight, got {weight!r}")
        found[name] = (reward_named(name), number)
    return found
