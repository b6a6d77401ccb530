"""One evaluation as it was asked for: everything checked that can be before a model is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from controllers.atts import AsyncScaling
from controllers.methods import fitted, method_named
from eval.allowance import Allowance
from eval.archive import Archive, open_archive, refuse_models
from eval.catalog import DATASETS
from eval.command import evaluate_tasks, resolve
from eval.folder import conflicts
from eval.questions import Dataset
from eval.scorers import SCORERS, raters
from eval.tasks import DRAWN, Asked, parse_tasks, task_of
from eval.withheld import calibrated_on, identified
from reason.backends.base import Backend
from reason.config import Values
from reason.errors import UsageError
from reason.keys import Eval
from reason.ledger import Budget
from reason.run import Controller, check_run, nested
from reason.session import connected
from reason.settings import method_of


@dataclass(frozen=True)
class Evaluation:
    """What `reason eval` does, from the keys it was given."""

    asked: Eval
    tables: Values
    """All keys, those of the method and its budget included."""
    method: Controller
    budget: Budget
    tasks: list[Asked]
    scorers: tuple[str, ...]
    archive: Archive | None

    @classmethod
    def of(cls, asked: Eval, tables: Values, data: bool = True) -> "Evaluation":
        """Raises UsageError for unknown keys and names, and, unless `data` is false, for data that
        cannot be used."""
        method, budget = method_of(Eval, tables, method_named(asked.controller), method_named)
        for name in ("limit", "concurrency", "tokens_in_flight"):
            value = getattr(asked, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, got {value}")
        if asked.replay:
            refuse_models(tables)
            archive = open_archive(asked.replay, asked.task)
            for _, each in nested(method):
                archive.check(each.name, getattr(each, "scorer", None))
            return cls(asked, tables, method, budget, [archive.task], archive.scorers, archive)
        tasks = parse_tasks(asked.task)
        check_run(method)
        for _, each in nested(method):
            if isinstance(each, AsyncScaling):
                for task in tasks:
                    each.unfit(data=task.title)
        if asked.without:
            calibrated_on(asked.without)
        if data:
            for task in tasks:
                next(task_of(task.name).items(1, 0, ""))  # says what is bad in it
        return cls(asked, tables, method, budget, tasks, SCORERS, None)

    @property
    def out(self) -> Path:
        """The folder of results."""
        name = "+".join(task.folder for task in self.tasks)
        return self.asked.out or Path("runs") / f"{name}-{self.asked.controller}"

    @property
    def models(self) -> Values:
        """Which models it runs on; equal for evaluations that can share them."""
        return {key: self.tables.get(key) for key in ("backend", "backends", "replay")}

    def connect(self, console: Console) -> Mapping[str, Backend]:
        """The models by role."""
        if self.archive:
            return self.archive.recording.models()
        return connected(self.asked.backend, self.tables, console)

    def questions(self, task: Asked) -> int:
        """How many are asked, without a network."""
        limit = self.asked.limit
        if self.archive:
            return self.archive.limit(limit)
        known = task_of(task.name)
        if not isinstance(known, Dataset):
            return limit or DRAWN
        rows = DATASETS[known.name].rows if known.name in DATASETS else None
        count = rows if rows is not None else len(known.questions())
        return min(limit or count, count)

    def conflicts(self, models: Mapping[str, Backend] | None = None) -> list[str]:
        """What keeps its folder from going on, as far as can be told without models, and with
        them. Raises UsageError for a damaged one."""
        asked, archive, found = self.asked, self.archive, dict[str, None]()
        method, unknown = self.method, {"excluded"}  # which takes all questions
        if models is None:
            unknown |= {"backends", *(f"controller.{at}syntax" for at, _ in nested(method))}
        else:
            method = fitted(method, self.tables, models["policy"].info, self.scorers)
        for task in self.tasks:
            path = (self.out / task.title if len(self.tasks) > 1 else self.out) / "config.json"
            if not path.exists():
                continue
            config = resolve(
                task.title,
                task.repeats,
                method,
                method.name,
                models or {},
                self.budget,
                self.questions(task),
                asked.seed,
                archive.problems_seed if archive else asked.problems_seed,
            )
            if data := task_of(task.name).describe():
                config["data"] = data
            if asked.without:
                config["without"] = identified(calibrated_on(asked.without))
            if archive:
                config["replay"] = archive.source
            found |= dict.fromkeys(conflicts(path, config, unknown))
        return list(found)

    async def go(
        self,
        models: Mapping[str, Backend],
        console: Console,
        *,
        brief: bool = False,
        allowance: Allowance | None = None,
    ) -> int:
        """Evaluate, or resume; the exit code."""
        asked, archive = self.asked, self.archive
        scorers = (*self.scorers, *raters(models))
        method = fitted(self.method, self.tables, models["policy"].info, scorers)
        check_run(method, {role: model.info for role, model in models.items()})
        return await evaluate_tasks(
            self.tasks,
            method,
            models,
            budget=self.budget,
            limit=archive.limit(asked.limit) if archive else asked.limit,
            exclude_unreadable=asked.exclude_unreadable,
            calibration=asked.without,
            seed=asked.seed,
            problems_seed=archive.problems_seed if archive else asked.problems_seed,
            concurrency=asked.concurrency,
            tokens_in_flight=asked.tokens_in_flight,
            trees=asked.trees,
            out=self.out,
            console=console,
            json=asked.json,
            archive=archive,
            brief=brief,
            allowance=allowance,
        )
