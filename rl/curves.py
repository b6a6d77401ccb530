"""The curves of training runs as a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reason.errors import UsageError
from reason.plotting import STYLE
from rl.log import Key, key_of

PANELS = {
    "reward": ("reward", "rollout/correct"),
    "children per rollout": ("rollout/children",),
    "critical path, tokens": ("rollout/critical_path",),
    "all tokens of a rollout": ("rollout/total_tokens",),
    "entropy": ("entropy",),
    "KL to the start": ("kl",),
    "held-out accuracy": ("heldout/accuracy",),
    "trainer against sampler, nats": ("sampler/gap",),
    "loss": ("loss",),
}
"""Titles, and the figures of the log that each panel shows; the first of a panel where several runs
are held against each other."""

Row = Mapping[str, Any]
Line = list[tuple[int, float]]


def logs_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; of a step that was done again, the last. Raises UsageError for a
    folder that has none, and for one that is damaged."""
    file = folder / "log.jsonl"
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; give folders of trainings"
        ) from error
    rows: dict[Key, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            rows[key_of(line)] = json.loads(line)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file}, line {number}: no row of a training's log") from error
    return [rows[key] for key in sorted(rows)]


def curves(runs: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Line]]:
    """(step, value) of each line by panel, of those that were logged: of one run the figures, of
    several the runs."""
    found: dict[str, dict[str, Line]] = {}
    for title, figures in PANELS.items():
        if len(runs) == 1:
            (rows,) = runs.values()
            lines = {figure: _line(rows, figure) for figure in figures}
        else:
            lines = {name: _line(rows, figures[0]) for name, rows in runs.items()}
        if kept := {name: line for name, line in lines.items() if line}:
            found[title] = kept
    return found


def _line(rows: Sequence[Row], figure: str) -> Line:
    return [(int(row["step"]), float(row[figure])) for row in rows if row.get(figure) is not None]


def draw(runs: Mapping[str, Sequence[Row]], file: Path) -> None:
    """Write the picture, in the format of its name; nothing where there is nothing to show."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = curves(runs)
    if "reward" in panels:
        panels.pop("loss", None)  # of a policy it says nothing
    if not panels:
        return
    colors = {name: f"C{number % 10}" for number, name in enumerate(runs)}
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(3.4 * columns, 2.4 * rows), squeeze=False
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
            axis.set_title(title, loc="left")
            for name, line in lines.items():
                steps, values = zip(*line, strict=True)
                axis.plot(steps, values, label=name, linewidth=1.2, color=colors.get(name))
            axis.set_xlabel("step")
        if len(runs) > 1:
            handles, names = axes.flat[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="upper center", ncols=6, frameon=False)
        else:
            for axis, lines in zip(axes.flat, panels.values(), strict=False):
                if len(lines) > 1:
                    axis.legend(frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.93 if len(runs) > 1 else 1))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=150)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot write {file}: {error}") from error
        finally:
            pyplot.close(figure)
