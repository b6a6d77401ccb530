"""What a sweep will take, before it is paid for: samples, tokens and hours of every cell.

    [plan]                      # assumptions, for --dry-run only
    speed = 5000                # sampled tokens per second of all servers together
    tokens.aime24 = 15_000      # of a chain, on average, by task; tokens.default for the others
    chains.apr = 3.0            # of a method's tokens, in chains; n where a method has an n, else 1

Without an assumption only the most is known: max_tokens for every chain, or the budget.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, prod
from typing import Any

from rich.table import Table

from eval.evaluation import Evaluation
from reason.config import convert, unknown_key
from reason.errors import UsageError
from reason.run import nested


@dataclass(frozen=True)
class Plan:
    """What is assumed."""

    speed: float | None = None
    tokens: Mapping[str, float] = field(default_factory=dict)
    chains: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Plan":
        """From [plan]. Raises UsageError for anything that is not what it says above."""
        unknown_key(table, ("speed", "tokens", "chains"), "plan.")
        shares: dict[str, dict[str, float]] = {}
        for name in ("tokens", "chains"):
            of = table.get(name, {})
            if not isinstance(of, Mapping):
                raise UsageError(f"plan.{name} has keys of its own: plan.{name}.KEY, got {of!r}")
            shares[name] = {key: _positive(f"plan.{name}.{key}", of[key]) for key in of}
        speed = _positive("plan.speed", table["speed"]) if "speed" in table else None
        return cls(speed, **shares)


def _positive(key: str, value: object) -> float:
    found: float = convert(float, value, key)
    if not 0 < found < inf:
        raise UsageError(f"{key} must be above 0, got {found:g}")
    return found


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one task of one cell."""

    cell: str
    task: str
    samples: int
    tokens: float | None
    """Sampled tokens that are expected; None where nothing is assumed."""
    most: float
    """Sampled tokens that the limits allow; inf for a method without one."""
    hours: float | None


def forecast(name: str, evaluation: Evaluation, plan: Plan) -> Iterator[Forecast]:
    """What the evaluation takes, by task."""
    method, budget = evaluation.method, evaluation.budget
    methods = [each for _, each in nested(method)]
    longest = float(methods[-1].sampling.max_tokens or inf)  # type: ignore[attr-defined]
    own = [(each.name, getattr(each, "n", None)) for each in methods]
    chains = prod(plan.chains.get(name, n or 1) for name, n in own)
    bounded = all(n or name == "single" for name, n in own)
    for task in evaluation.tasks:
        samples = evaluation.questions(task) * task.repeats
        of_task = plan.tokens.get(task.title, plan.tokens.get("default"))
        most = longest * prod(n or 1 for _, n in own) if bounded else inf
        most = min(most, budget.total_tokens)
        each = None
        if of_task is not None:
            each = min(min(of_task, longest) * chains, budget.total_tokens)
        tokens = None if each is None else samples * each
        hours = tokens / plan.speed / 3600 if tokens is not None and plan.speed else None
        yield Forecast(name, task.title, samples, tokens, samples * most, hours)


def table(found: list[Forecast]) -> Table:
    """A row for each, and their sum."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
    shown.add_column("cell", footer="all")
    shown.add_column("task")
    for name, values in (
        ("samples", [f.samples for f in found]),
        ("tokens", [f.tokens for f in found]),
        ("at most", [f.most for f in found]),
        ("hours", [f.hours for f in found]),
    ):
        shown.add_column(name, justify="right", footer=_sum(name, values), no_wrap=True)
    for f in found:
        cells = (_shown("samples", f.samples), _shown("tokens", f.tokens))
        last = (_shown("at most", f.most), _shown("hours", f.hours))
        shown.add_row(f.cell.replace(",", ", "), f.task, *cells, *last)
    return shown


def _sum(name: str, values: list[int] | list[float | None] | list[float]) -> str:
    known = [value for value in values if value is not None]
    return _shown(name, sum(known) if len(known) == len(values) else None)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "?"
    if not isfinite(value):
        return "no limit"
    if name == "hours":
        return f"{value:,.1f}" if value >= 0.1 else "<0.1"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size and name != "samples":
            return f"{value / size:,.0f}{letter}"
    return f"{value:,.0f}"
