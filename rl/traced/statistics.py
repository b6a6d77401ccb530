"""What became of all items, in figures."""

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec
from rich.console import Console
from rich.table import Table

from rl.traced.done import LAST, STEPS, Done
from rl.traced.example import Figures


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """As statistics.json holds it."""

    items: int
    """Chains, or samples of an evaluation, that were looked at."""
    passed: dict[str, int]
    """How many came through each step; a chain without a block needs no outlines."""
    dropped: dict[str, int]
    """How many were left out, by step and reason."""
    examples: int
    parallel: int
    """Of these, with a block."""
    sequential: int
    unit: str
    """What is counted in the following: tokens, or words where no tokenizer is known."""
    tokens: int
    critical_path: int
    """Summed over examples, as tokens are."""
    parallel_share: float
    """Of all tokens, those in threads."""
    acceleration: float
    """1 - critical path / tokens, over all examples."""
    acceleration_parallel: float
    """The mean of the same over the examples with a block."""
    blocks: float
    """For each of these, on average."""
    threads: float
    """For each block."""
    questions: int
    """Of evaluation sets, that were looked for in the items."""
    teacher_requests: int
    teacher_prompt_tokens: int
    teacher_sampled_tokens: int


def statistics(
    done: Mapping[str, Mapping[str, Done]], kept: Collection[str], unit: str, questions: int
) -> Statistics:
    """Figures of the items with these rows, of which `kept` are examples."""
    rows = [row for steps in done.values() for row in steps.values()]
    passed = Counter(row.step for row in rows if row.drop is None)
    dropped = Counter(f"{row.step}: {row.drop}" for row in rows if row.drop is not None)
    chosen = frozenset(kept)
    last = [steps[LAST] for id, steps in done.items() if id in chosen]
    figures = [msgspec.convert(row.value, Figures) for row in last]
    threaded = [one for one in figures if one.blocks]
    tokens, critical = (sum(getattr(f, n) for f in figures) for n in ("tokens", "critical_path"))
    blocks = sum(one.blocks for one in threaded)
    more = passed[LAST] - len(figures)
    if more:
        dropped["filter: another of its question was faster"] = more
    return Statistics(
        items=len(done),
        passed={step: passed[step] for step in STEPS if passed[step]},
        dropped=dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        examples=len(figures),
        parallel=len(threaded),
        sequential=len(figures) - len(threaded),
        unit=unit,
        tokens=tokens,
        critical_path=critical,
        parallel_share=_share(sum(one.parallel for one in figures), tokens),
        acceleration=1 - critical / tokens if tokens else 0.0,
        acceleration_parallel=_share(sum(one.acceleration for one in threaded), len(threaded)),
        blocks=_share(blocks, len(threaded)),
        threads=_share(sum(one.threads for one in threaded), blocks),
        questions=questions,
        teacher_requests=sum(row.requests for row in rows),
        teacher_prompt_tokens=sum(row.prompt_tokens for row in rows),
        teacher_sampled_tokens=sum(row.sampled_tokens for row in rows),
    )


def show(found: Statistics, console: Console) -> None:
    """The same as a table."""
    table = Table.grid(padding=(0, 3))
    table.add_column()
    table.add_column()

    def line(name: str, value: str) -> None:
        table.add_row(name, value)

    line("looked at", f"{found.items:,}")
    for step, count in found.passed.items():
        line(f"passed {step}", f"{count:,}")
    for reason, count in found.dropped.items():
        line(f"dropped, {reason}", f"{count:,}")
    line(
        "examples",
        f"{found.examples:,}: {found.parallel:,} with blocks, {found.sequential:,} without",
    )
    if found.examples:
        line(found.unit, f"{found.tokens:,}, {found.parallel_share:.1%} of them in threads")
        line("critical path", f"{found.critical_path:,}")
        line(
            "acceleration",
            f"{found.acceleration:.3f}, with blocks {found.acceleration_parallel:.3f}",
        )
    if found.parallel:
        line("blocks", f"{found.blocks:.2f} to an example, {found.threads:.2f} threads to a block")
    line("looked for", f"{found.questions:,} questions of evaluation sets")
    if found.teacher_requests:
        line(
            "teacher",
            f"{found.teacher_requests:,} requests, {found.teacher_prompt_tokens:,} tokens read, "
            f"{found.teacher_sampled_tokens:,} written",
        )
    console.print(table, soft_wrap=True)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
