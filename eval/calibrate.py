"""`reason calibrate TASK`: run ATTS on questions of a task, and keep the scores of its drafts."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.catalog import mode_at, refuses_known
from calibration.folds import Folding
from calibration.judging import Mode
from calibration.store import Calibration, Identity, save
from controllers.atts import AsyncScaling, name_of
from controllers.methods import fitted
from controllers.question import question_id
from eval.item import Item
from eval.tasks import Asked, parse_tasks, task_of
from reason.backends.base import Backend
from reason.config import Values
from reason.errors import UsageError
from reason.events import Closed, Event
from reason.keys import Calibrate
from reason.ledger import Budget
from reason.run import solve
from reason.settings import method_of
from reason.types import Prompt


@dataclass(frozen=True)
class Calibrating:
    """What `reason calibrate` does, from the keys it was given."""

    asked: Calibrate
    tables: Values
    method: AsyncScaling
    budget: Budget
    task: Asked

    @classmethod
    def of(cls, asked: Calibrate, tables: Values) -> "Calibrating":
        """Raises UsageError for unknown keys and names, and for what could calibrate nothing."""
        method, budget = method_of(Calibrate, tables, AsyncScaling)
        assert isinstance(method, AsyncScaling)
        if method.calibration:
            raise UsageError(
                f"calibration={method.calibration} is what comes out: name the file with --out"
            )
        tasks = parse_tasks(asked.task)
        if len(tasks) > 1:
            raise UsageError(f"one task at a time, got {asked.task}: rates hold within a task")
        if asked.limit < asked.folds:
            raise UsageError(
                f"limit must be folds ({asked.folds}) or more questions, got {asked.limit}"
            )
        return cls(asked, tables, method, budget, tasks[0])

    @property
    def out(self) -> Path:
        """The file of scores."""
        return self.asked.out or Path("runs") / f"calibration-{self.task.title}.json"

    async def go(self, models: Mapping[str, Backend], console: Console) -> int:
        """Run, keep the scores, and say what they are good for; 1 if a model failed anywhere."""
        asked, info = self.asked, models["policy"].info
        if "target" not in models:
            raise UsageError("which model takes over? give it as backends.target=SPEC")
        method = fitted(self.method, self.tables, info, ())
        assert isinstance(method, AsyncScaling)
        drawn = task_of(self.task.name).items(asked.limit, asked.problems_seed, info.grammar)
        prompts = _different(list(drawn))
        mode = _mode(method)
        folding = Folding(mode, list(prompts), method.n, asked.folds, asked.seed)
        lost = await self._run(method.judged_by(folding), prompts, folding, models, console)

        sample = folding.sample
        if not len(sample):
            why = f": {lost[0]}" if lost else ""
            raise UsageError(
                f"no draft got a score{why}; do both models answer? try reason ask -c atts"
            )
        identity = Identity(
            draft=name_of(info),
            target=name_of(models["target"].info),
            data=self.task.title,
            score=method.score,
            config=method.conditions(),
        )
        save(Calibration(identity, sample), self.out)
        turns = sample.turns.tolist()
        found: dict[str, Any] = {
            "out": str(self.out),
            "scores": len(sample),
            "questions": len(sample.known),
            "by_turn": {str(turn): turns.count(turn) for turn in sorted(set(turns))},
            "unscored": folding.unscored,
            "warnings": [*mode.fit(sample).warnings],
        }
        if lost:
            found["warnings"].append(
                f"a model failed in {len(lost)} threads, the first time with: {lost[0]}; the "
                "scores until then are kept"
            )
        _show(found, method.rate, console, asked.json)
        return 1 if lost else 0

    async def _run(
        self,
        method: AsyncScaling,
        prompts: Mapping[str, Prompt],
        folding: Folding,
        models: Mapping[str, Backend],
        console: Console,
    ) -> list[str]:
        """All questions at once, since all of them go on turn by turn together; what threads failed
        of."""
        columns = (
            TextColumn("calibrating"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        lost: list[str] = []
        quiet = self.asked.json or not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
            bar = progress.add_task("", total=len(prompts))

            def watch(event: Event) -> None:
                if isinstance(event, Closed) and event.finish == "error":
                    lost.append(event.detail)

            async def one(question: str, prompt: Prompt) -> None:
                try:
                    seed = f"{self.asked.seed}/{question}"
                    run = await solve(
                        method, prompt, models, budget=self.budget, seed=seed, sinks=[watch]
                    )
                    if isinstance(run.failure, UsageError):  # it would be that of every question
                        raise run.failure
                finally:
                    folding.gone(question)
                    progress.advance(bar)

            try:
                async with asyncio.TaskGroup() as group:
                    for question, prompt in prompts.items():
                        group.create_task(one(question, prompt))
            except ExceptionGroup as raised:
                mistakes, bugs = raised.split(UsageError)
                if mistakes is None or bugs is not None:
                    raise
                raise mistakes.exceptions[0] from None  # one is as good as all of them
        return lost


def _different(items: Sequence[Item]) -> dict[str, Prompt]:
    """The prompts of the items by question; one that comes twice counts once."""
    return {question_id(item.prompt): item.prompt for item in items}


def _mode(method: AsyncScaling) -> Mode:
    if not refuses_known(method.mode) and method.mode != "paper":
        raise UsageError(
            f"mode={method.mode} judges questions by scores of their own, which other questions do "
            f"not give: calibrate with mode=pooled and run with mode={method.mode} force=true"
        )
    if method.mode == "paper":
        raise UsageError(
            "mode=paper calibrates on first turns, which any mode collects: calibrate with "
            "mode=pooled and run with mode=paper force=true"
        )
    return mode_at(method.mode, method.rate)


def _show(found: Mapping[str, Any], rate: float, console: Console, json: bool) -> None:
    if json:
        console.out(msgspec.json.encode(found).decode(), highlight=False)
        return
    by_turn = ", ".join(f"{turn}: {count}" for turn, count in found["by_turn"].items())
    lines = [
        f"{found['scores']} scores of {found['questions']} questions for a rate of {rate:g}, in "
        f"{found['out']}",
        f"by turn {by_turn}",
    ]
    if found["unscored"]:
        lines.append(f"{found['unscored']} drafts had no finite score and are left out")
    for line in (*lines, *found["warnings"]):
        console.print(line, soft_wrap=True, markup=False)
