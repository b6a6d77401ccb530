"""`reason calibrate TASK`: run ATTS on questions of a task, and keep the scores of its drafts."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.catalog import mode_at, refuses_known
from calibration.folds import Folding
from calibration.judging import Mode
from calibration.sample import Sample
from calibration.store import Calibration, Identity, differences, load, save
from controllers.atts import AsyncScaling
from controllers.methods import fitted
from controllers.pair import name_of
from controllers.question import question_id
from eval.item import Item
from eval.tasks import KNOWN, Asked, parse_tasks, task_of
from reason.backends.base import Backend
from reason.config import Values
from reason.errors import UsageError
from reason.events import Closed, Event
from reason.keys import Calibrate
from reason.ledger import Budget
from reason.output import check_writable
from reason.run import solve
from reason.settings import method_of
from reason.types import Prompt

FAILED = "failed"
"""Threads in which a model failed, in the configuration of scores that are not all there."""


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
        if asked.calibration:
            raise UsageError(
                f"calibration={asked.calibration} is what comes out: name the file with --out"
            )
        if not asked.task:
            raise UsageError(
                "which task? for example: reason calibrate countdown4 --backend countdown-draft "
                f"backends.target=countdown-apr; there is: {KNOWN}"
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
        """Run, keep the scores, and say what they are good for; 1 if a model failed anywhere.

        A file that holds just these is left as it is. Raises UsageError for one of anything else.
        """
        asked, info = self.asked, models["policy"].info
        if "target" not in models:
            raise UsageError("which model takes over? give it as backends.target=SPEC")
        method = fitted(self.method, self.tables, info, ())
        assert isinstance(method, AsyncScaling)
        drawn = task_of(self.task.name).items(asked.limit, asked.problems_seed, info.grammar)
        prompts = _different(list(drawn))
        mode = _mode(method)
        identity = Identity(
            draft=name_of(info),
            target=name_of(models["target"].info),
            data=self.task.title,
            score=method.score,
            config=method.conditions() | self._drawn(),
        )
        check_writable(self.out)
        there = self._there(identity, prompts)
        if there:
            return self._show(there, mode, console, before=True)
        folding = Folding(mode, list(prompts), method.n, asked.folds, asked.seed)
        lost = await self._run(method.judged_by(folding), prompts, folding, models, console)

        sample = folding.sample
        if not len(sample):
            why = f": {lost[0]}" if lost else ""
            raise UsageError(
                f"no draft got a score{why}; do both models answer? try reason ask -c atts"
            )
        if lost:
            identity = replace(identity, config={**identity.config, FAILED: len(lost)})
        save(Calibration(identity, sample), self.out)
        return self._show(sample, mode, console, unscored=folding.unscored, lost=lost)

    def _drawn(self) -> dict[str, str | int | float | bool]:
        """What was asked, how often and within which limits: with more of it, there are others."""
        asked, budget = self.asked, self.budget
        limits = {f.name: getattr(budget, f.name) for f in fields(budget)}
        return {
            "n": self.method.n,
            **{name: getattr(asked, name) for name in ("limit", "folds", "seed", "problems_seed")},
            **{f"budget.{name}": limit for name, limit in limits.items() if isfinite(limit)},
        }

    def _there(self, identity: Identity, questions: Collection[str]) -> Sample | None:
        """The scores of the file, if it holds these, and no model had failed. Raises UsageError for
        anything else in it, which is not to be lost."""
        if not self.out.exists():
            return None
        try:
            found = load(self.out)
        except UsageError as error:
            raise UsageError(
                f"{self.out} is there and holds no calibration as this version writes it: give "
                "another --out, or remove the file"
            ) from error
        differing = differences(found.identity, identity, but=FAILED)
        if not found.sample.known <= set(questions):
            differing.append("the questions")
        if differing:
            raise UsageError(
                f"{self.out} holds another calibration; what differs: {', '.join(differing)}. Give "
                "another --out, or remove the file: evaluations that were begun with it go on with "
                "no other"
            )
        return None if FAILED in found.identity.config else found.sample

    def _show(
        self,
        sample: Sample,
        mode: Mode,
        console: Console,
        *,
        unscored: int = 0,
        lost: Sequence[str] = (),
        before: bool = False,
    ) -> int:
        turns, rate = sample.turns.tolist(), self.method.rate
        counts = {str(turn): turns.count(turn) for turn in sorted(set(turns))}
        warnings = [*mode.fit(sample).warnings]
        if lost:
            warnings.append(
                f"a model failed in {len(lost)} threads, the first time with: {lost[0]}; the "
                "scores until then are kept, and the same command collects them anew"
            )
        found = {
            "out": str(self.out),
            "scores": len(sample),
            "questions": len(sample.known),
            "by_turn": counts,
            "unscored": unscored,
            "warnings": warnings,
        }
        if self.asked.json:
            console.out(msgspec.json.encode(found).decode(), highlight=False)
            return 1 if lost else 0
        of = f"{len(sample)} scores of {len(sample.known)} questions for a rate of {rate:g}"
        lines = [f"{self.out} was there before: {of}" if before else f"{of}, in {self.out}"]
        lines.append(f"by turn {', '.join(f'{turn}: {count}' for turn, count in counts.items())}")
        if unscored:
            lines.append(f"{unscored} drafts had no finite score and are left out")
        for line in (*lines, *warnings):
            console.print(line, soft_wrap=True, markup=False)
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
