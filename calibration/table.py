"""An audit in a terminal of 80 columns or more."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from calibration.audit import Alarm, Audit, Rate
from calibration.clusters import Interval
from calibration.shifts import Shift

NONE = "-"
OUTSIDE = "!"
LEGEND = (
    "rejected [95%]: bootstrap of questions; expected: where 95% of runs are if chunks are "
    f"exchangeable with the calibration, at the effective numbers of both, {OUTSIDE} outside of "
    "it; eff.: as many independent chunks would tell as much; KS: largest difference to the "
    f"scores of the calibration and its p-value, at effective numbers, {OUTSIDE} too small for "
    "chance among all turns"
)


def terminal(audit: Audit) -> Iterator[Table | Text]:
    """The turns and all together, the alarms, and what the columns mean."""
    table = Table(
        title=f"rejections, for a rate of {audit.rate:.1%}",
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in ("turn", "chunks", "questions", "rejected [95%]", "expected", "eff.", "KS", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for turn, rate in audit.turns.items():
        table.add_row(str(turn), *_cells(rate, audit.shifts.get(turn)))
    table.add_section()
    table.add_row("all", *_cells(audit.overall, None))
    yield table
    yield Text()
    if audit.not_finite:
        yield Text(
            f"! {audit.not_finite:,} more had a score that is not finite, and were rejected",
            style="yellow",
        )
    yield from _alarm("chunks as they were judged", audit.as_made)
    yield from _alarm("turn by turn, in random order", audit.turn_by_turn)
    yield Text(LEGEND, style="dim")


def _cells(rate: Rate, shift: Shift | None) -> Iterator[str]:
    yield f"{rate.chunks:,}"
    yield f"{rate.questions:,}"
    yield f"{100 * rate.share:.1f}%{_interval(rate.by_question)}"
    band = rate.clustered_band
    outside = band is not None and not band[0] <= rate.share <= band[1]
    yield NONE if band is None else f"{_percents(band)}%{OUTSIDE if outside else ' '}"
    yield f"{rate.clustering.effective:,.0f}"
    yield NONE if shift is None else f"{shift.distance:.2f}"
    if shift is None:
        yield NONE
    else:
        yield f"{shift.clustered_p:.2g}{OUTSIDE if shift.flagged else ' '}"


def _interval(found: Interval | None) -> str:
    return "" if found is None else f" [{100 * found[0]:.1f}, {100 * found[1]:.1f}]"


def _percents(found: Interval) -> str:
    return f"{100 * found[0]:.0f}-{100 * found[1]:.0f}"


def _alarm(order: str, alarm: Alarm) -> Iterator[Text]:
    if alarm.at is None:
        yield Text(f"no alarm, {order}: the martingale's wealth came to 10^{alarm.highest:.1f}")
    else:
        yield Text(
            f"! alarm at chunk {alarm.at:,}, of turn {alarm.turn}, {order}: the martingale's "
            f"wealth came to 10^{alarm.highest:.1f}",
            style="yellow",
        )
