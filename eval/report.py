"""The figures of an evaluation as a table for people."""

from collections.abc import Iterator, Mapping
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
        *_repeated(m),
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
    for warning, count in m.warnings.items():
        found.append(("warning", f"{warning} ({count:,} samples)"))
    if "cached" in timing:
        found.append(("cached prompt tokens", f"{timing['cached']:.1%}"))
    if timing:
        seconds, speed = timing["seconds"], timing["tokens_per_second"]
        found.append(("wall clock", f"{duration(round(seconds))}, {speed:,.0f} tokens/s"))
    return found


def _repeated(metrics: Metrics) -> Iterator[tuple[str, str]]:
    """What several samples a question tell."""
    known = metrics.uncertainty
    if known.this_set:
        low, high = (100 * limit for limit in known.this_set)
        yield "for this very set", f"[{low:.1f}, {high:.1f}]"
    if known.icc is not None:
        yield "between questions", f"{known.icc:.0%} of the variance"
    for figure in ("pass", "maj"):
        found = [
            (name.partition("@")[2], at.value)
            for name, at in metrics.at_k.items()
            if name.startswith(figure)
        ]
        if found:
            yield f"{figure}@k", ", ".join(f"{k}: {value:.1%}" for k, value in found)


def _spread(spread: Spread) -> str:
    return f"mean {spread.mean:,.1f}, median {spread.median:,.0f}, 95th {spread.p95:,.0f}"
