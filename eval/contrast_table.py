"""Comparisons for people and for machines: a table for a terminal of 80 columns, and JSON."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from rich.table import Table
from rich.text import Text

from eval.comparison import Difference
from eval.contrast import BUDGETED, Contrast, Within
from eval.score import AVG

NONE = "-"
LEGEND = (
    "In points of 100, with 95% intervals: questions like these, and this very set. Within a "
    "budget, what cost more counts as wrong."
)
SIGNIFICANT = 0.05


def terminal(contrasts: Sequence[Contrast]) -> Iterator[Table | Text]:
    """All comparisons, each with its remarks; the legend below."""
    for contrast in contrasts:
        first, other = contrast.samples
        yield Text(contrast.task, style="bold")
        yield Text(f"A  {contrast.first.label}\nB  {contrast.other.label}")
        yield Text(
            f"{_questions(contrast.rows[0].difference)}, {first} "
            f"{_plural(first, 'sample')} of each by A and {other} by B"
        )
        if contrast.score != AVG:
            yield Text(f"score: {contrast.score}")
        yield Text()
        yield _table(contrast)
        yield from (Text(f"! {remark}", style="yellow") for remark in contrast.remarks)
        yield Text()
    holm = _families(contrasts)
    yield Text(f"{LEGEND}{f' Holm: p adjusted for {holm}.' if holm else ''}", style="dim")


def as_json(contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """Every figure of them."""
    return {
        "contrasts": [
            {
                "task": contrast.task,
                "score": str(contrast.score),
                **{
                    name: {
                        "label": side.label,
                        "folder": str(side.path),
                        "samples": samples,
                        "finished": side.finished,
                    }
                    for name, side, samples in zip(
                        ("first", "other"),
                        (contrast.first, contrast.other),
                        contrast.samples,
                        strict=True,
                    )
                },
                "questions": contrast.rows[0].difference.questions,
                "groups": contrast.rows[0].difference.groups,
                "comparisons": [_record(row) for row in contrast.rows],
                "remarks": list(contrast.remarks),
            }
            for contrast in contrasts
        ]
    }


def _record(row: Within) -> dict[str, Any]:
    found = row.difference
    return {
        "figure": row.figure,
        "budget": row.budget if isfinite(row.budget) else None,
        "first": row.first,
        "other": row.other,
        "difference": found.mean,
        "like_these": {
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "holm": row.holm,
            "test": found.test,
        },
        "this_set": found.this_set
        and {
            "low": found.this_set.low,
            "high": found.this_set.high,
            "p_value": found.this_set.p_value,
            "holm": row.holm_this_set,
            "test": found.this_set.test,
        },
    }


def _table(contrast: Contrast) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("right within")
    for name in ("A", "B", "A - B"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("95%", justify="right", no_wrap=True)
    adjusted = any(_differs(row) for row in contrast.rows)
    for name in ("p", "Holm") if adjusted else ("p",):
        table.add_column(name, justify="right", no_wrap=True)
    for row in contrast.rows:
        found, this = row.difference, row.difference.this_set
        table.add_row(
            _budget(row),
            f"{100 * row.first:.1f}",
            f"{100 * row.other:.1f}",
            f"{100 * found.mean:+.1f}",
            "like these",
            _interval(found.low, found.high),
            *_p(found.p_value, row.holm, adjusted),
        )
        if this:
            limits = _interval(this.low, this.high)
            p = _p(this.p_value, row.holm_this_set, adjusted)
            table.add_row("", "", "", "", "this set", limits, *p)
    return table


def _budget(row: Within) -> str:
    return f"{BUDGETED[row.figure]} {row.budget:,.0f}" if row.figure else "no limit"


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return NONE
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]"


def _p(p: float, holm: float, adjusted: bool) -> list[Text]:
    """Bold where it is significant after all corrections."""
    style = "bold" if holm < SIGNIFICANT else ""
    return [Text(_small(value), style) for value in ((p, holm) if adjusted else (p,))]


def _small(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _differs(row: Within) -> bool:
    this = row.difference.this_set
    return row.holm != row.difference.p_value or (
        this is not None and row.holm_this_set != this.p_value
    )


def _families(contrasts: Sequence[Contrast]) -> str:
    """What Holm's correction was over."""
    of_task = len([one for one in contrasts if one.task == contrasts[0].task])
    budgeted = max(one.several for one in contrasts)
    parts = [f"{of_task} evaluations without a limit"] if of_task > 1 else []
    parts += [f"{budgeted} comparisons within budgets"] if budgeted > 1 else []
    return " and for ".join(parts)


def _questions(found: Difference) -> str:
    if found.groups is None:
        return f"{found.questions:,} questions"
    return (
        f"{found.questions:,} questions in {found.groups:,} {_plural(str(found.groups), 'group')}"
    )


def _plural(count: str, noun: str) -> str:
    return noun if count == "1" else f"{noun}s"
