"""How a run ended and what it cost: for a person, for a machine, and on record."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from reason.errors import UsageError
from reason.events import Event, Noted
from reason.run import Trajectory
from reason.watch import clean

NOTE = "result"
"""Name of the last note of a recording, which is no event of the run itself."""
DIM = "bright_black"


@dataclass(frozen=True)
class Ending:
    """What the events of a run do not say about how it ended."""

    answer: str | None = None
    """As a person would write it."""
    found: str | None = None
    """As the model wrote it."""
    thread: str | None = None
    verified: bool | None = None
    """None where there was nothing to check it with."""
    fault: str | None = None
    """What is wrong with it, where that was checked."""
    error: str | None = None
    limit: str | None = None

    def note(self) -> Noted:
        """For the end of a recording."""
        return Noted(thread=self.thread or "0", name=NOTE, value=asdict(self))


UNFINISHED = Ending(error="the recording stops before the run does")


def split_ending(events: list[Event]) -> tuple[list[Event], Ending]:
    """The run's own events of a recording, and how it ended."""
    last = events[-1] if events else None
    if not isinstance(last, Noted) or last.name != NOTE:
        return events, UNFINISHED
    try:
        return events[:-1], msgspec.convert(last.value, Ending)
    except msgspec.ValidationError as error:
        raise UsageError(f"the recording's last line is no result: {error}") from error


def account(run: Trajectory, ending: Ending) -> dict[str, Any]:
    """One object for `--json`."""
    figures = {**run.account(), **asdict(ending), "warnings": list(run.warnings)}
    return {name: figures[name] for name in _KEYS}


_KEYS = (
    "answer",
    "thread",
    "controller",
    "critical_path",
    "total_tokens",
    "longest_sequence",
    "prompt_tokens",
    "cached_tokens",
    "threads",
    "peak_threads",
    "seconds",
    "ttft",
    "error",
    "verified",
    "fault",
    "limit",
    "warnings",
)


def summary(figures: dict[str, Any]) -> RenderableType:
    """The answer and the account, in three lines."""
    rate = figures["total_tokens"] / figures["seconds"] if figures["seconds"] > 0 else 0
    many = f"threads, {figures['peak_threads']:,} at once" if figures["threads"] != 1 else "thread"
    tokens = (
        (f"{figures['critical_path']:,}", "on the critical path"),
        (f"{figures['total_tokens']:,}", "in all"),
        (f"{figures['longest_sequence']:,}", "in the longest sequence"),
    )
    time = (
        (f"{figures['seconds']:.2f}", "s"),
        (f"{rate:,.0f}", "tokens/s"),
        (f"{figures['threads']:,}", many),
    )
    return Group(_answer(figures), _facts("tokens", tokens), _facts("time", time))


def _answer(figures: dict[str, Any]) -> Text:
    text = Text().append("answer   ", DIM)
    if figures["answer"] is None:
        text.append("none", "bold red")
        limit = figures["limit"]
        found = f"the run reached budget.{limit}" if limit else "the model found none"
        return text.append(f": {clean(figures['error'] or found)}")
    text.append(clean(figures["answer"]), "bold")
    if figures["verified"] is not None:
        good = figures["verified"]
        text.append("   ")
        text.append("✓ verified" if good else "✗ wrong", "bold green" if good else "bold red")
        text.append("" if good else f": {clean(figures['fault'])}")
    if figures["limit"]:
        text.append(f"   reached budget.{figures['limit']} on the way", "yellow")
    return text


def _facts(label: str, facts: Iterable[tuple[str, str]]) -> Text:
    text = Text().append(f"{label:9}", DIM)
    for number, (value, unit) in enumerate(facts):
        text.append(" · " if number else "", DIM)
        text.append(value, "bold").append(f" {unit}")
    return text
