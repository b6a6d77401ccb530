"""The plots of an audit as files, PNG and SVG: drawn by matplotlib, of the extra `eval`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.audit import BINS, Audit, Rate
from calibration.martingale import ALARM
from reason.errors import UsageError
from reason.extras import extra
from reason.plotting import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f6fb4", "#c2500b", "#57606a"


def draw(audit: Audit, folder: Path, name: str = "calibration") -> list[str]:
    """Write FOLDER/NAME-turns, -p-values and -wealth, each as .svg and .png; the names of the SVG
    files. Raises UsageError where that is impossible, and without matplotlib."""
    with extra("eval"):
        import matplotlib
    names = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(STYLE):
            for kind, figure in _figures(audit):
                stem = f"{name}-{kind}"
                figure.savefig(folder / f"{stem}.svg", metadata={"Date": None})
                figure.savefig(folder / f"{stem}.png", dpi=200)
                names.append(f"{stem}.svg")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return names


def _figures(audit: Audit) -> "Iterator[tuple[str, Figure]]":
    figure, axes = _frame("turn", "share rejected")
    _turns(axes, audit)
    _legend(figure)
    yield "turns", figure
    figure, axes = _frame("p-value", "chunks")
    edges = [place / BINS for place in range(BINS + 1)]
    axes.stairs(audit.histogram, edges, fill=True, color=BLUE, alpha=0.35, lw=0)
    axes.stairs(audit.histogram, edges, color=BLUE)
    uniform = sum(audit.histogram) / BINS
    axes.axhline(uniform, color=GREY, lw=1, ls="--", label="if exchangeable")
    axes.axvline(audit.rate, color=ORANGE, lw=1, label="rejected to the left")
    axes.set_xlim(0, 1)
    _legend(figure)
    yield "p-values", figure
    figure, axes = _frame("chunks judged", "wealth of the martingale, log10")
    for alarm, label, colour in (
        (audit.as_made, "as they were judged", BLUE),
        (audit.turn_by_turn, "turn by turn, in random order", ORANGE),
    ):
        axes.plot(range(1, len(alarm.wealth) + 1), alarm.wealth, color=colour, lw=1, label=label)
    axes.axhline(ALARM, color=GREY, lw=1, ls="--", label="alarm")
    _legend(figure)
    yield "wealth", figure


def _turns(axes: "Axes", audit: Audit) -> None:
    """Shares with the intervals of both kinds, before the band that is expected."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    turns = list(audit.turns)
    label: str | None = "expected in 95% of runs"
    for turn, rate in audit.turns.items():
        if rate.clustered_band is not None:
            low, high = rate.clustered_band
            x = [turn - 0.5, turn + 0.5]
            axes.fill_between(x, low, high, facecolor=GREY, alpha=0.18, lw=0, label=label)
            label = None
    axes.axhline(audit.rate, color=GREY, lw=1, ls="--", label="asked for")
    for exact, colour, width, label in (
        (False, BLUE, 1.0, "rejected, 95% by question"),
        (True, ORANGE, 2.6, "95% as if independent"),
    ):
        sides = [_sides(rate, exact) for rate in audit.turns.values()]
        axes.errorbar(
            turns,
            [rate.share for rate in audit.turns.values()],
            yerr=[[below for below, _ in sides], [above for _, above in sides]],
            color=colour,
            elinewidth=width,
            ls="",
            marker="" if exact else "o",
            markersize=5,
            zorder=2 if exact else 3,
            label=label,
        )
    axes.set_ylim(0, 1)
    axes.set_xlim(min(turns) - 0.6, max(turns) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _sides(rate: Rate, exact: bool) -> tuple[float, float]:
    """How far an interval reaches below and above the share."""
    interval = rate.exact if exact else rate.by_question
    low, high = interval or (rate.share, rate.share)
    return max(rate.share - low, 0), max(high - rate.share, 0)


def _frame(x: str, y: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _legend(figure: "Figure") -> None:
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
