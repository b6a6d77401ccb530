"""`reason tune ape`: what to tune on, the grid, and what is left: a file, a line and a picture."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from controllers.ape import ParallelEncoding
from controllers.tuned import Tuned
from eval.tasks import task_of
from eval.tuning import GRID, tune
from reason.backends.base import Backend
from reason.context_keys import Tune
from reason.errors import UsageError
from reason.plotting import STYLE
from reason.run import Controller
from reason.types import check_attention


async def tune_task(asked: Tune, method: Controller, model: Backend, console: Console) -> int:
    """Tune on the questions of a task, write what was found, draw the grid; the exit code."""
    assert isinstance(method, ParallelEncoding)
    if not asked.task:
        raise UsageError("on which questions? for example: reason tune ape people8 -b lookup")
    temperatures = _numbers("temperatures", asked.temperatures)
    scales = _numbers("scales", asked.scales)
    for temperature in temperatures:
        for scale in scales:
            try:
                check_attention(temperature, scale)
            except ValueError as error:
                raise UsageError(str(error)) from error
    items = task_of(asked.task).items(asked.limit, asked.problems_seed, model.info.grammar)
    prompts = [item.prompt for item in items]
    for prompt in prompts[:1]:
        method.admit({"policy": model.info}, prompt)
    columns = (TextColumn("T and S"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = asked.json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("", total=None)
        found = await tune(
            method,
            prompts,
            model,
            tokens=asked.tokens,
            temperatures=temperatures,
            scales=scales,
            seed=asked.seed,
            told=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    found.write(asked.out)
    picture = asked.out.with_suffix(".png")
    draw(found, temperatures, scales, picture)
    if asked.json:
        print(msgspec.json.encode(asdict(found)).decode())
        return 0
    low, high = found.interval
    same = ""
    if found.agreement is not None:
        same = f"; the likeliest token is the same for {found.agreement:.1%}"
    console.print(
        f"T={found.temperature:g} S={found.scale:g}: {found.divergence:.3g} nats for a token from "
        f"one sequence [{low:.3g}, {high:.3g}], {found.plain:.3g} at T=S=1{same}. "
        f"{found.tokens} tokens behind {found.prompts} prompts",
        markup=False,
        soft_wrap=True,
    )
    if low <= found.plain <= high:
        console.print(
            "that is no better than T=S=1 as far as can be told: give more prompts (limit), or "
            "more tokens of each",
            style="yellow",
            soft_wrap=True,
        )
    console.print(
        f"{asked.out} and {picture}: give tuned={asked.out}", markup=False, soft_wrap=True
    )
    return 0


def draw(found: Tuned, temperatures: Sequence[float], scales: Sequence[float], path: Path) -> None:
    """The divergence over the grid as a picture, the darker the nearer."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    table = {(t, s): max(value, 1e-9) for t, s, value in found.grid}
    grid = np.array([[table[t, s] for t in temperatures] for s in scales])
    with pyplot.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = pyplot.subplots(figsize=(5.2, 4.2), layout="constrained")
        image = axes.imshow(grid, origin="lower", cmap="viridis", norm=LogNorm(), aspect="auto")
        axes.set_xticks(range(len(temperatures)), [f"{t:g}" for t in temperatures])
        axes.set_yticks(range(len(scales)), [f"{s:g}" for s in scales])
        axes.set(xlabel="attention temperature T", ylabel="scaling factor S")
        axes.plot(temperatures.index(found.temperature), scales.index(found.scale), "w*", ms=12)
        figure.colorbar(image, label="divergence from one sequence, nats for a token")
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def _numbers(name: str, given: tuple[float, ...] | None) -> list[float]:
    if given is not None and not given:
        raise UsageError(f"{name} is empty; expected numbers with commas, such as 0.8,0.9,1")
    return list(dict.fromkeys(given or GRID))
