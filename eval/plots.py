"""The plots of a report as files, PNG and SVG: drawn by matplotlib, of the extra `eval`."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.curves import curves
from eval.summary import COSTS, Cost, Group, Summary
from reason.errors import UsageError
from reason.extras import extra
from reason.plotting import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#1f6fb4", "#c2500b", "#1a7f5a", "#a03d93", "#7d6400", "#c22f4f", "#0e7680", "#5b5fc7",
)  # fmt: skip
LINES = ("-", "--", ":", "-.")
MARKERS = "os^DvP"
"""A method has the colour and shape that it has on the page (eval/web/base.js)."""
UNITS: Mapping[Cost, str] = {"critical_path": ", tokens", "total_tokens": "", "seconds": ", s"}
LOG = 8
"""Largest cost by the smallest from which on an axis is logarithmic."""
LEGEND_COLUMNS = 2
BANDS = 6
"""Methods at most that get a band of their intervals."""


def draw(groups: Sequence[Group], folder: Path) -> list[list[str]]:
    """Write every plot of every task as FOLDER/TASK-PLOT.svg and .png; the names of the SVG files.

    Plots of an earlier report there are removed. Raises UsageError where that is impossible, and
    without matplotlib.
    """
    with extra("eval"):
        import matplotlib
    labels = list(dict.fromkeys(s.label for group in groups for s in group.summaries))
    names = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("accuracy", "within"):
            for old in folder.glob(f"*-{kind}-*.*"):
                old.unlink()
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Glyph .* missing"
            )  # drawn as a box, and legible in SVG
            for group, stem in zip(groups, _stems(groups), strict=True):
                drawn = [(f"{stem}-{name}", figure) for name, figure in _figures(group, labels)]
                for name, figure in drawn:
                    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
                    figure.savefig(folder / f"{name}.png", dpi=200)
                names.append([f"{name}.svg" for name, _ in drawn])
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return names


def _stems(groups: Sequence[Group]) -> list[str]:
    """Names of the tasks as files may be called, each once."""
    found: list[str] = []
    for group in groups:
        stem = re.sub(r"[^\w.=+-]+", "_", group.task)[:80]
        found.append(f"{stem}-{len(found)}" if stem in found else stem)
    return found


def _figures(group: Group, labels: Sequence[str]) -> "Iterator[tuple[str, Figure]]":
    for cost in COSTS:
        known = [summary for summary in group.summaries if cost in summary.costs]
        if known:
            figure, axes = _frame(group, f"{COSTS[cost]} of a run{UNITS[cost]}", len(known))
            _scatter(axes, known, group.fronts[cost], cost, labels)
            yield f"accuracy-{cost}", figure
        found = curves(group.summaries, cost)
        if found.curves:
            name = f"{COSTS[cost]} that a run may take{UNITS[cost]}"
            figure, axes = _frame(group, name, len(found.curves))
            _scale(axes, [budget for budget in found.budgets if budget > 0])
            for curve in found.curves:
                line = _line(curve.label, labels)
                left, right = axes.get_xlim()
                x, ends = [*found.budgets, right], [0.0, *curve.values, curve.values[-1]]
                axes.step([left, *x], ends, where="post", **line)
                if len(found.curves) <= BANDS:
                    low, high = [*curve.low, curve.low[-1]], [*curve.high, curve.high[-1]]
                    axes.fill_between(
                        x, low, high, step="post", color=line["color"], alpha=0.12, lw=0
                    )
            axes.set_ylim(0, 1.02)
            shown = {curve.label: _line(curve.label, labels) for curve in found.curves}
            _legend(figure, shown)
            yield f"within-{cost}", figure


def _frame(group: Group, name: str, methods: int) -> "tuple[Figure, Axes]":
    """A figure that is as much higher as the legend of so many methods needs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    more = max(0, ceil(methods / LEGEND_COLUMNS) - 2) * 0.17
    figure = Figure(figsize=(4.2, 3.2 + more), layout="constrained")
    axes = figure.subplots()
    axes.set_title(group.task, fontsize=9, loc="left")
    axes.set_xlabel(name)
    axes.set_ylabel("share right")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, axes


def _scatter(
    axes: "Axes",
    summaries: Sequence[Summary],
    front: Sequence[str],
    cost: Cost,
    labels: Sequence[str],
) -> None:
    bounds = [bound for s in summaries for bound in _bounds(s, cost) if bound > 0]
    _scale(axes, bounds)
    for summary in summaries:
        look, best = _look(summary.label, labels), summary.label in front
        mean, share = summary.costs[cost].value, summary.accuracy
        low, high = _bounds(summary, cost)
        axes.errorbar(
            mean,
            share.value,
            xerr=[[max(mean - low, 0)], [max(high - mean, 0)]],
            yerr=[[max(share.value - share.low, 0)], [max(share.high - share.value, 0)]],
            elinewidth=0.9,
            markersize=7,
            markerfacecolor=look["color"] if best else "white",
            **look,
        )
    points = [(s.costs[cost].value, s.accuracy.value) for s in summaries if s.label in front]
    if points:
        right = axes.get_xlim()[1]
        steps = [*sorted(points), (right, max(y for _, y in points))]
        x, y = [x for x, _ in steps], [y for _, y in steps]
        axes.step(x, y, where="post", color="#57606a", lw=1, ls="--", zorder=1)
        axes.set_xlim(right=right)
    shown = {s.label: {"ls": "", **_look(s.label, labels)} for s in summaries}
    _legend(axes.figure, shown)


def _bounds(summary: Summary, cost: Cost) -> tuple[float, float]:
    mean = summary.costs[cost]
    return (
        mean.value if mean.low is None else mean.low,
        mean.value if mean.high is None else mean.high,
    )


def _scale(axes: "Axes", costs: Sequence[float]) -> None:
    """From zero on, or logarithmic where costs differ very much."""
    from matplotlib.ticker import LogFormatter, LogLocator, NullLocator, StrMethodFormatter

    low, high = min(costs, default=1.0), max(costs, default=1.0)
    if high / low < LOG:
        axes.set_xlim(0, high * 1.08)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
        return
    axes.set_xscale("log")
    axes.set_xlim(low / 1.25, high * 1.25)
    few = high / low < 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    plain = high < 1e6 and low > 1e-3
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}") if plain else LogFormatter())


def _look(label: str, labels: Sequence[str]) -> dict[str, Any]:
    number = labels.index(label)
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[number % len(COLOURS)], "marker": marker}


def _line(label: str, labels: Sequence[str]) -> dict[str, Any]:
    """Colours come again, with another kind of line."""
    number = labels.index(label)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "ls": LINES[number // len(COLOURS) % len(LINES)],
    }


def _legend(figure: Any, shown: Mapping[str, dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look) for look in shown.values()]
    # matplotlib leaves out what begins with an underscore
    names = [label if not label.startswith("_") else f" {label}" for label in shown]
    small = {"frameon": False, "fontsize": 8}
    figure.legend(handles, names, loc="outside lower center", ncols=LEGEND_COLUMNS, **small)
