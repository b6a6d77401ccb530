"""The accounts of runs, side by side."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from reason.chat.run import Run
from reason.watch import clean

FIGURES = {
    "critical_path": "path",
    "total_tokens": "tokens",
    "longest_sequence": "longest",
    "threads": "threads",
}
"""With what they are called where there is little room."""
ROOMY = 16
"""Columns that a run must have before figures have their long names."""


def compared(runs: Sequence[Run], width: int = 100) -> list[str]:
    """Rows of a table so wide at most; what is too long for its column is cut."""
    names = {name: name.replace("_", " ") for name in FIGURES}
    left = max(map(len, names.values()))
    if (width - left) // len(runs) - 2 < ROOMY:
        names, left = FIGURES, max(map(len, FIGURES.values()))
    room = max((width - left) // len(runs) - 2, 1)
    table = [
        ["", *(clean(run.method) for run in runs)],
        ["answer", *(clean(str(run.figures.get("answer"))) for run in runs)],
        *([said, *(f"{run.figures.get(name, 0):,}" for run in runs)]
          for name, said in names.items()),
        ["seconds", *(f"{run.figures.get('seconds', 0):.2f}" for run in runs)],
    ]  # fmt: skip
    rows = [[name, *(_cut(cell, room) for cell in cells)] for name, *cells in table]
    widths = [max(cell_len(row[n]) for row in rows) for n in range(len(runs) + 1)]
    return ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in rows]


def _cut(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + "…"
