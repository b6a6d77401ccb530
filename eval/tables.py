"""The figures of a report as tables: in a terminal, and in Markdown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import PurePosixPath
from textwrap import wrap

from rich.table import Table
from rich.text import Text

from eval.summary import COSTS, SHARES, Cost, Group, Mean, Share, Summary

NONE = "-"
BEST = "◆"
METHOD = 22
"""Columns of a terminal for the name of a method, at most."""
LEGEND = (
    f"Shares are of all samples, costs means over problems; {BEST}: on the Pareto front, nothing "
    "else here is as often right for less."
)


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of every method."""

    name: str
    of: Callable[[Summary], str]


def tables(group: Group, currency: str | None) -> Iterator[tuple[str, list[Column]]]:
    """The tables of a task, each with a title."""
    yield (
        "results",
        [
            Column("right [95%]", lambda s: _percent(s.accuracy)),
            *(_cost(group, cost) for cost in COSTS),
        ],
    )
    yield "cost, mean of a run", [*_tokens(), *(_money(currency) if currency else ())]
    yield (
        "how runs ended",
        [
            Column("samples", _samples),
            *(_share(name, title) for name, title in SHARES.items()),
            Column("errors", lambda s: f"{s.metrics.errors:,}"),
        ],
    )


def terminal(group: Group, currency: str | None) -> Iterator[Table | Text]:
    """For a console of 80 columns or more."""
    yield Text(group.task, style="bold")
    for title, columns in tables(group, currency) if group.summaries else ():
        table = Table(
            title=title,
            title_justify="left",
            title_style="",
            box=None,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        table.add_column("method", no_wrap=True)
        for column in columns:
            table.add_column(column.name, justify="right", no_wrap=column is columns[0])
        for summary in group.summaries:
            cells = (Text(column.of(summary)) for column in columns)
            table.add_row(Text("\n".join(wrap(summary.label, METHOD))), *cells)
        yield table
        yield Text()
    for remark in group.remarks:
        yield Text(f"! {remark}", style="yellow")


def markdown(
    groups: Sequence[Group], currency: str | None, plots: Sequence[Sequence[str]] = ()
) -> str:
    """One document; `plots` are the paths of its pictures, task by task."""
    parts = ["# Evaluation report\n"]
    for group, pictures in zip(groups, plots or [()] * len(groups), strict=True):
        parts.append(f"## {_escaped(group.task)}\n")
        parts += [f"- {_escaped(remark)}" for remark in group.remarks] + [""] * bool(group.remarks)
        for title, columns in tables(group, currency) if group.summaries else ():
            parts += [f"**{title.capitalize()}**\n", *_pipes(group, columns), ""]
        parts += [f"![{PurePosixPath(name).stem}]({name})\n" for name in pictures]
    return "\n".join([*parts, LEGEND, ""])


def money(value: float | None) -> str:
    """Three digits that tell something; no currency, which stands above."""
    if value is None:
        return NONE
    digits = 2 if value == 0 or value >= 1 else min(2 - floor(log10(value)), 12)
    return f"{value:,.{digits}f}"


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f}% [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _cost(group: Group, cost: Cost) -> Column:
    def of(summary: Summary) -> str:
        found = summary.costs.get(cost)
        best = BEST if summary.label in group.fronts[cost] else " "
        return NONE if found is None else f"{_figure(cost, found)}{best}"

    return Column(COSTS[cost] + (", s" if cost == "seconds" else ""), of)


def _figure(cost: Cost, mean: Mean) -> str:
    if cost != "seconds":
        return f"{mean.value:,.0f}"
    digits = max(2 - floor(log10(mean.value)), 0) if mean.value > 0 else 0
    return f"{mean.value:,.{digits}f}"


def _tokens() -> Iterator[Column]:
    yield Column("prompt", lambda s: f"{s.tokens.prompt / s.metrics.samples:,.0f}")
    yield Column("cached", lambda s: f"{s.tokens.cached / s.metrics.samples:,.0f}")
    yield Column("sampled", lambda s: f"{s.tokens.sampled / s.metrics.samples:,.0f}")


def _money(currency: str) -> Iterator[Column]:
    def each(summary: Summary, runs: int) -> float | None:
        return summary.money / runs if summary.money is not None and runs else None

    def right(summary: Summary) -> int:
        return sum(row.correct for row in summary.evaluation.rows)

    yield Column(f"{currency} a run", lambda s: money(each(s, s.metrics.samples)))
    yield Column("a right answer", lambda s: money(each(s, right(s))))
    yield Column("in all", lambda s: money(s.money))


def _samples(summary: Summary) -> str:
    evaluation, done = summary.evaluation, summary.metrics.samples
    if evaluation.finished:
        return f"{done:,}"
    return f"{done:,}/{evaluation.expected:,}" if evaluation.expected else f"{done:,}/?"


def _share(name: str, title: str) -> Column:
    return Column(title, lambda s: f"{getattr(s.metrics, name):.1%}")


def _pipes(group: Group, columns: Sequence[Column]) -> Iterator[str]:
    yield " | ".join(["| method", *(_escaped(column.name) for column in columns)]) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for summary in group.summaries:
        cells = (column.of(summary).strip() for column in columns)
        yield " | ".join([f"| {_escaped(summary.label)}", *cells]) + " |"


def _escaped(text: str) -> str:
    """So that nothing in it is Markdown or HTML."""
    for character in "\\`*_[]<>|#!&~":
        text = text.replace(character, f"\\{character}")
    return text
