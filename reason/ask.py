"""One problem put to one method: shown while it runs, checked, written down."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from reason.account import Ending, account
from reason.backends.base import Backend
from reason.errors import UsageError
from reason.journal import Sink
from reason.live import showing
from reason.output import Output
from reason.picture import Picture
from reason.question import Question, Turn
from reason.record import Recorder
from reason.run import Trajectory, described, solve, titled
from reason.watch import Watch


async def ask(
    turn: Turn,
    models: Mapping[str, Backend],
    output: Output,
    *,
    seed: int,
    record: Path | None = None,
) -> int:
    """Solve it, live on a terminal; the exit code: 0 for an answer, right or wrong, 1 for none."""
    question, controller = turn.question, turn.controller
    watch = Watch()
    model = Path(models["policy"].info.model).name
    began = time.monotonic()
    picture = Picture(
        watch, question.title, titled(controller), model, now=lambda: time.monotonic() - began
    )
    sinks: list[Sink] = [watch]
    async with AsyncExitStack() as stack:
        recorder = None
        if record:
            header = {
                "method": titled(controller),
                "title": question.title,
                "model": model,
                "controller": described(controller),
                "seed": seed,
            }
            recorder = Recorder(record, header)
            stack.callback(recorder.close)
            sinks.append(recorder)
        if not output.json:
            await stack.enter_async_context(showing(output.console, picture))
        run = await solve(
            controller,
            question.prompt,
            models,
            budget=turn.budget,
            sinks=sinks,
            scorers=question.scorers,
            seed=seed,
        )
        if isinstance(run.failure, UsageError):  # a mistake in the request, not of the run
            raise run.failure
        ending = ending_of(run, question)
        watch.win(ending.thread, ending.found)
        if recorder:
            recorder(ending.note())
    if recorder and recorder.error:
        Console(stderr=True).print(recorder.error, style="yellow", markup=False)
    for warning in () if output.json else run.warnings:
        Console(stderr=True).print(warning, style="yellow", markup=False, soft_wrap=True)
    output.finish(picture, account(run, ending))
    return 0 if ending.answer is not None else 1


def kept(record: Path | None) -> str:
    """What is left of a question that is stopped."""
    if record is None:
        return "nothing was kept: --record FILE keeps a run"
    return f"the run up to here is on record: reason replay {record}"


def ending_of(run: Trajectory, question: Question) -> Ending:
    """How it ended, its answer checked."""
    answer = run.result.answer if run.result else None
    fault = question.fault(answer) if question.fault else None
    return Ending(
        answer if answer is None else question.show(answer),
        answer,
        run.result.thread if run.result else None,
        fault is None if question.fault else None,
        fault,
        run.error,
        run.limit,
    )
