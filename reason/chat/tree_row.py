"""One row of the live tree, drawn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from reason.chat.outline import Row
from reason.chat.reply import sentence
from reason.chat.run import Run
from reason.picture import SPINNER
from reason.watch import Line, clean

GLYPHS = {
    "waiting": "◌",
    "joined": "✓",
    "done": "✓",
    "cut": "✂",
    "stopped": "⊘",
    "failed": "✗",
}
STYLES = {"joined": "done", "waiting": "dim", "stopped": "dim"}
WIDE = 90
"""Columns from which on the state stands in words, too."""


@dataclass(frozen=True, slots=True)
class Look:
    """What all rows of one frame share."""

    critical: set[str]
    below: Mapping[str, int]
    """Tokens of threads with all under them."""
    tree: int
    """Width of branches and names."""
    width: int
    style: Callable[[str], Style]
    plain: Style


def drawn(run: Run, row: Row, look: Look) -> list[Segment]:
    """The parts of a row, as wide as they come."""
    if row.decision is None:
        return _thread(run, row, look)
    times = f" (the last of {row.decision.times})" if row.decision.times > 1 else ""
    return [
        Segment(row.branch, look.style("tree--dim")),
        Segment(f"◆ {row.decision.name}{times}  ", look.style("tree--decision")),
        Segment(row.decision.value, look.plain),
    ]


def _thread(run: Run, row: Row, look: Look) -> list[Segment]:
    line, style, dim = row.line, look.style, look.style("tree--dim")
    state = run.timeline.state(line)
    won, critical = line.id in run.watch.winners, line.id in look.critical
    kind = STYLES.get(state, state)
    glyph = SPINNER[int(time.monotonic() * 8) % len(SPINNER)] if state == "writing" else ""
    glyph = "★" if won and state in ("joined", "done") else glyph or GLYPHS[state]
    strong = style("tree--winner" if won else "tree--critical") if won or critical else look.plain
    name = f" {line.id}" + (f" ▸{row.folded}" if row.folded else "")
    room = max(look.tree - len(row.branch) - 1, 1)
    parts = [
        Segment(row.branch, dim),
        Segment(glyph, style(f"tree--{'winner' if glyph == '★' else kind}")),
        Segment(_id(name, room), strong),
        Segment("┃" if critical else " ", style("tree--critical")),
    ]
    figures = _figures(run, line, look, state)
    parts.append(Segment(figures, dim if line.finish else look.plain))
    left = look.width - len(row.branch) - 2 - room - len(figures) - 2
    if left > 4:
        parts.append(Segment("  "))
        if line.detail and state == "failed":
            parts.append(Segment(fit(sentence(line.detail), left), style(f"tree--{kind}")))
        else:
            parts += _words(run, line, left, dim, look.plain)
    return parts


def _figures(run: Run, line: Line, look: Look, state: str) -> str:
    """State, tokens, speed, tokens with all below, and the clock, as far as there is room."""
    below = max(look.below.get(line.id, 0), line.tokens)  # the first is as old as the frame
    said = f"{line.tokens:>7,}{run.timeline.rate(line):>6,.0f}/s"
    said += f" Σ{below:<6,}" if below != line.tokens else " " * 8
    return f" {state:7}{said}@{line.clock:<6,}" if look.width >= WIDE else said


def _words(run: Run, line: Line, room: int, dim: Style, plain: Style) -> list[Segment]:
    """What it was asked, and the end of what it wrote."""
    task = line.label if line.parent else clean(run.title)
    if line.continues and line.forked and line.parent:
        ready = [each for each in line.parent.joined if not each.continues]
        task = f"join {len(ready)} → goes on"
    elif line.forked:
        task = line.notes.get("hint") or "fork"
    task = fit(task, min(room // 3, 24)).rstrip() + "  " if room > 24 and task else ""
    return [Segment(task, dim), Segment(_end(line.tail.strip(), room - cell_len(task)), plain)]


def _id(name: str, room: int) -> str:
    """The name in so many cells: of a long one the end, which tells it from its neighbours."""
    return fit(name, room) if len(name) <= room else "…" + name[len(name) - room + 1 :]


def _end(text: str, room: int) -> str:
    """As much of the end of a text as fits, after an ellipsis if that is not all."""
    if cell_len(text) <= room:
        return text
    text = text[-room:]
    while text and cell_len(text) > room - 1:
        text = text[1:]
    return "…" + text


def fit(text: str, cells: int) -> str:
    """The text in so many cells, cut or filled up."""
    if cell_len(text) <= cells:
        return set_cell_size(text, cells)
    return set_cell_size(text, max(cells - 1, 0)) + "…"
