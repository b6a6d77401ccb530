"""The curves of a training run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reason.plotting import STYLE

PANELS = {
    "reward": ("reward", "rollout/correct"),
    "children per rollout": ("rollout/children",),
    "critical path, tokens": ("rollout/critical_path",),
    "all tokens of a rollout": ("rollout/total_tokens",),
    "entropy": ("entropy",),
    "KL to the start": ("kl",),
    "held-out accuracy": ("heldout/accuracy",),
    "trainer against sampler, nats": ("sampler/gap",),
}
"""Titles, and the figures of the log that each panel shows."""


def curves(logs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """(step, value) of each figure by panel, of those that were logged."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for title, names in PANELS.items():
        lines = {
            name: [(int(row["step"]), float(row[name])) for row in logs if name in row]
            for name in names
        }
        if kept := {name: line for name, line in lines.items() if line}:
            found[title] = kept
    return found


def draw(logs: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write the picture; nothing where there is nothing to show."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = curves(logs)
    if not panels:
        return
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
                axis.plot(steps, values, label=name, linewidth=1.2)
            if len(lines) > 1:
                axis.legend(frameon=False)
            axis.set_xlabel("step")
        figure.tight_layout()
        figure.savefig(file, dpi=150)
        pyplot.close(figure)
