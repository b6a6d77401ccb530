"""The figures of an evaluation as a table for people."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from eval.metrics import Metrics, Spread
from eval.progress import duration, percent


def table(title: str, metrics: Metrics, timing: Mapping[str, Any]) -> Table:
    """One row per figure; `timing` as timing.json holds it, or empty."""
    rows = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for name, value in lines(metrics, timing):
        rows.add_row(name, value)
    return rows


def lines(metrics: Metrics, timing: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The names and values of the table."""
    m = metrics
    found = [
        ("accuracy", percent(m.accuracy)),
        ("95% interval", m.accuracy.method),
        ("samples", f"{m.samples:,} of {m.questions:,} questions"),
        ("critical path", _spread(m.critical_path)),
        ("tokens per sample", _spread(m.tokens_per_sample)),
        ("longest sequence", _spread(m.longest_sequence)),
        ("threads", _spread(m.threads)),
        ("total tokens", f"{m.total_tokens:,}"),
        ("spawned", f"{m.spawned:.1%}"),
        ("wrong answer", f"{m.false_claims:.1%}"),
        ("no answer", f"{m.unanswered:.1%}"),
        ("truncated", f"{m.truncated:.1%}"),
        ("hit the budget", f"{m.limited:.1%}"),
        ("errors", f"{m.errors:,}"),
    ]
    if m.in_thought:
        found.append(("answer in thought", f"{m.in_thought:.1%}"))
    if m.ungraded:
        found.append(("not gradable", f"{m.ungraded:,}"))
    if "cached" in timing:
        found.append(("cached prompt tokens", f"{timing['cached']:.1%}"))
    if timing:
        seconds, speed = timing["seconds"], timing["tokens_per_second"]
        found.append(("wall clock", f"{duration(round(seconds))}, {speed:,.0f} tokens/s"))
    return found


def _spread(spread: Spread) -> str:
    return f"mean {spread.mean:,.1f}, median {spread.median:,.0f}, 95th {spread.p95:,.0f}"
