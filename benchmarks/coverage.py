"""How often the intervals hold the truth: coverage by simulation.

    python -m benchmarks.coverage [--evaluations 2000] [--around 0.3] [--bootstrap] [--json]

An evaluation is Q questions whose solve rates are drawn from a beta distribution of mean `accuracy`
and variance `icc` * accuracy * (1 - accuracy), each asked n times. An interval for questions like
these should hold `accuracy`, one for this set the mean of the rates that were drawn; both in 95% of
the evaluations. With --around, each evaluation has an accuracy of its own, up to that share of
min(accuracy, 1 - accuracy) away: counts are few at Q=30, and coverage at one accuracy jumps with it
(Brown, Cai & DasGupta 2001). Differences are of two methods whose rates correlate at 0.9 or so.
With --bootstrap only accuracies at Q=30, and beside the others the percentile bootstrap.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy import stats

from eval.intervals import (
    Interval,
    bootstrap,
    like_these,
    mover,
    paired,
    student,
    this_set,
)

Array = NDArray[np.float64]
QUESTIONS = (30, 500)
REPEATS = (1, 4, 16)
ACCURACIES = (0.1, 0.5, 0.95)
GAPS = ((0.5, 0.0), (0.5, 0.1), (0.1, 0.05), (0.95, 0.03))
"""Accuracy of the first method, and by how much the second is better."""
ICCS = (0.0, 0.3, 0.6, 0.9)
CORRELATION = 0.9


@dataclass(frozen=True)
class Cell:
    """A kind of evaluation."""

    questions: int
    repeats: int
    accuracy: float
    icc: float
    gap: float | None = None
    """By how much a second method is better, if there is one."""


def cells() -> list[Cell]:
    """All kinds; with one sample a question, how it came about makes no difference."""
    return [
        Cell(q, n, accuracy, icc)
        for q in QUESTIONS
        for n in REPEATS
        for accuracy in ACCURACIES
        for icc in (ICCS if n > 1 else ICCS[:1])
    ]


def pairs() -> list[Cell]:
    """All kinds of two methods that are compared."""
    return [
        Cell(q, n, accuracy, icc, gap)
        for q in QUESTIONS
        for n in REPEATS
        for accuracy, gap in GAPS
        for icc in ICCS[1:3]
    ]


def coverage(
    cell: Cell, evaluations: int, seed: int = 0, around: float = 0.0, resampled: bool = False
) -> dict[str, float]:
    """Share of evaluations in which each interval holds the truth; `resampled`: the bootstrap's,
    too."""
    rng = np.random.default_rng([seed, *cell_key(cell)])
    n = [cell.repeats] * cell.questions
    hits = {"t": 0, "like these": 0, "this set": 0} | ({"bootstrap": 0} if resampled else {})
    for _ in range(evaluations):
        room = around * min(cell.accuracy, 1 - cell.accuracy)
        accuracy = cell.accuracy + room * rng.uniform(-1, 1)
        rates = np.full(cell.questions, accuracy)
        if cell.icc:
            size = 1 / cell.icc - 1
            rates = rng.beta(accuracy * size, (1 - accuracy) * size, cell.questions)
        means = rng.binomial(cell.repeats, rates) / cell.repeats
        hits["t"] += holds(student(means), accuracy)
        hits["like these"] += holds(like_these(means, n), accuracy)
        hits["this set"] += holds(this_set(means, n), float(rates.mean()))
        if resampled:
            hits["bootstrap"] += holds(bootstrap(means), accuracy)
    return {name: count / evaluations for name, count in hits.items()}


def paired_coverage(cell: Cell, evaluations: int, seed: int = 0) -> dict[str, float]:
    """The same of the difference between two methods."""
    rng = np.random.default_rng([seed, *cell_key(cell)])
    n, gap = np.full(cell.questions, cell.repeats), cell.gap or 0.0
    hits = {"t": 0, "like these": 0, "this set": 0}
    for _ in range(evaluations):
        one, two = two_rates(cell, rng)
        x, y = (rng.binomial(cell.repeats, rates) / cell.repeats for rates in (one, two))
        hits["t"] += holds(student(y - x), gap)
        hits["like these"] += holds(paired(y, n, x, n), gap)
        a, b = this_set(y, n), this_set(x, n)
        if a and b:
            found = mover(float(y.mean()), a, float(x.mean()), b)
            hits["this set"] += holds(found, float((two - one).mean()))
    return {name: count / evaluations for name, count in hits.items()}


def two_rates(cell: Cell, rng: np.random.Generator) -> tuple[Array, Array]:
    """The solve rates of two methods at the same questions."""
    first, other = rng.normal(size=(2, cell.questions))
    second = CORRELATION * first + np.sqrt(1 - CORRELATION**2) * other
    return (
        rates_of(cell.accuracy, cell.icc, first),
        rates_of(cell.accuracy + (cell.gap or 0.0), cell.icc, second),
    )


def rates_of(accuracy: float, icc: float, normal: Array) -> Array:
    """Beta-distributed rates from normal variables, so that those of two methods can correlate."""
    if icc == 0:
        return np.full(len(normal), accuracy)
    return np.interp(normal, _NORMAL, _quantiles(accuracy, icc))


_NORMAL = np.linspace(-8, 8, 4001)


@cache
def _quantiles(accuracy: float, icc: float) -> Array:
    size = 1 / icc - 1
    found: Array = stats.beta.ppf(stats.norm.cdf(_NORMAL), accuracy * size, (1 - accuracy) * size)
    return found


def holds(interval: Interval | None, truth: float) -> bool:
    return interval is not None and interval[0] - 1e-12 <= truth <= interval[1] + 1e-12


def cell_key(cell: Cell) -> list[int]:
    """A seed of its own for every cell."""
    return [round(1000 * (value or 0)) for value in asdict(cell).values()]


def lines(found: dict[Cell, dict[str, float]]) -> Iterator[str]:
    """A table in Markdown: in percent, from the lowest to the highest over ICC."""
    kinds = list(next(iter(found.values())))
    yield f"| {' | '.join(('Q', 'n', 'accuracy', *kinds))} |"
    yield f"|{' --- |' * (3 + len(kinds))}"
    for name in dict.fromkeys(map(_name, found)):
        rows = [shares for cell, shares in found.items() if _name(cell) == name]
        yield f"| {' | '.join((*name, *(_range(rows, kind) for kind in rows[0])))} |"


def _name(cell: Cell) -> tuple[str, str, str]:
    second = f" and {cell.accuracy + cell.gap:g}" if cell.gap is not None else ""
    return str(cell.questions), str(cell.repeats), f"{cell.accuracy:g}{second}"


def _range(rows: list[dict[str, float]], kind: str) -> str:
    shares = sorted(100 * row[kind] for row in rows)
    if shares[-1] == 0:
        return "–"  # noqa: RUF001
    return " to ".join(dict.fromkeys(f"{share:.1f}" for share in (shares[0], shares[-1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=2000)
    parser.add_argument("--around", type=float, default=0.0)
    parser.add_argument("--bootstrap", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    kinds = [cell for cell in cells() if cell.questions == 30 or not options.bootstrap]
    single = {
        cell: coverage(cell, options.evaluations, 0, options.around, options.bootstrap)
        for cell in track(kinds, "accuracies", console=console)
    }
    double = {
        cell: paired_coverage(cell, options.evaluations)
        for cell in track([] if options.bootstrap else pairs(), "differences", console=console)
    }
    if options.json:
        records = [{**asdict(cell), **found} for cell, found in {**single, **double}.items()]
        print(json.dumps(records))
        return
    print("Accuracy", *lines(single), sep="\n")
    if double:
        print("Difference", *lines(double), sep="\n")


if __name__ == "__main__":
    main()
