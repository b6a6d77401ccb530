"""What stands above the tree of a run."""

from reason.chat.run import Run
from reason.watch import clean

EDGE = 6
"""Columns that the border and the ends of the title take."""
SPARED = ("rate", "path", "seconds", "threads")
"""What is left out where there is no room, the first first."""


def heading(run: Run, only: str, width: int) -> str:
    """The method, what the tree is narrowed to, and as many figures as fit."""
    watch, running = run.watch, run.running
    alive = f"{watch.alive}/{watch.threads}" if watch.alive else f"{watch.threads}"
    seconds = run.seconds if running else run.figures.get("seconds") or watch.at or run.seconds
    rate = watch.tokens / seconds if seconds > 0 else 0
    furthest = max((line.clock for line in watch.lines.values()), default=0)
    figures = {
        "seconds": f"{seconds:.1f} s",
        "tokens": f"{watch.tokens:,} tok",
        "rate": f"{rate:,.0f} tok/s",
        "threads": f"{alive} thread{'' if watch.threads == 1 else 's'}",
        "path": f"path {furthest if running else watch.clock():,}",
    }
    first = [clean(run.method), *([f"only {only}"] if only else [])]
    for name in SPARED:
        if len(" · ".join((*first, *figures.values()))) + EDGE <= width:
            break
        del figures[name]
    return " · ".join((*first, *figures.values())).replace("[", r"\[")  # nothing reads as markup
