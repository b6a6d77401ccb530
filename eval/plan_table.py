"""Plans for people and for machines: tables for a terminal, and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.intervals import CONFIDENCE
from eval.plan import Plan
from eval.power import (
    POWER,
    READINGS,
    Design,
    Which,
    detectable,
    power_of,
    questions_needed,
    repeats_needed,
)

NONE = "-"
CAUTIOUS = (
    "With 1 repeat the figure for this set is a cautious bound: one sample does not tell how much "
    "of a question is luck, and smaller differences may be found."
)
CALLED: dict[Which, str] = {"this_set": "this set", "like_these": "questions like these"}


def publish(plans: Sequence[Plan], console: Console, json: bool) -> int:
    """Print what each could show; the exit code."""
    if json:
        record = {"power": POWER, "confidence": CONFIDENCE, "plans": [_record(p) for p in plans]}
        console.out(msgspec.json.encode(record).decode(), highlight=False)
    else:
        for plan in plans:
            console.print(*_shown(plan), sep="\n")
    return 0


def _steps(repeats: int) -> list[int]:
    """Powers of two below, and what was asked for."""
    return [*(2**i for i in range(repeats.bit_length()) if 2**i < repeats), repeats]


def _shown(plan: Plan) -> Iterator[Table | Text]:
    design = plan.design
    yield Text(plan.task, style="bold")
    source = f"as in {', '.join(map(str, plan.like))}" if plan.like else "assumed"
    unknown = " (assumed)" if plan.like and design.correlation == Design.correlation else ""
    yield Text(
        f"{design.questions:,} questions; {source}: {design.accuracy:.1%} of answers are right, "
        f"{design.icc:.0%} of their variance lies between questions, and the solve rates of two "
        f"methods correlate at {design.correlation:.2f}{unknown}\n"
    )
    yield Text(
        f"smallest difference that is found with {POWER:.0%} power at p < {1 - CONFIDENCE:.2f}, "
        "in points of 100:"
    )
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for name in ("repeats", "samples a method", *CALLED.values()):
        table.add_column(name, justify="right")
    for repeats in _steps(plan.repeats):
        smallest = [detectable(design, repeats, which) for which in CALLED]
        points = (NONE if found is None else f"{100 * found:.1f}" for found in smallest)
        table.add_row(f"{repeats:,}", f"{repeats * design.questions:,}", *points)
    yield table
    yield Text(CAUTIOUS)
    if plan.difference is not None:
        for which, called in CALLED.items():
            yield Text(_hoped(plan, plan.difference, which, called))
    yield Text()


def _hoped(plan: Plan, difference: float, which: Which, called: str) -> str:
    chance = power_of(plan.design, difference, plan.repeats, which)
    repeats = repeats_needed(plan.design, difference, which)
    questions = questions_needed(plan.design, difference, plan.repeats, which)
    needs = [_repeats(repeats) if repeats else "no number of repeats"]
    needs += [f"{questions:,} questions"] if questions else []
    return (
        f"{100 * difference:g} points, {called}: found with {chance:.0%} power; "
        f"{POWER:.0%} takes {' or '.join(needs)}"
    )


def _repeats(number: int) -> str:
    return "1 repeat" if number == 1 else f"{number:,} repeats"


def _record(plan: Plan) -> dict[str, Any]:
    design = plan.design
    hoped = plan.difference
    return {
        "task": plan.task,
        "repeats": plan.repeats,
        "assumed": asdict(design),
        "like": [str(place) for place in plan.like],
        "detectable": [
            {
                "repeats": repeats,
                "samples": repeats * design.questions,
                **{which: detectable(design, repeats, which) for which in READINGS},
            }
            for repeats in _steps(plan.repeats)
        ],
        "difference": hoped
        and {
            "value": hoped,
            **{
                which: {
                    "power": power_of(design, hoped, plan.repeats, which),
                    "repeats_needed": repeats_needed(design, hoped, which),
                    "questions_needed": questions_needed(design, hoped, plan.repeats, which),
                }
                for which in READINGS
            },
        },
    }
