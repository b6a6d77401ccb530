"""`reason report DIR…`: what the command does once its options are objects."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from eval.alignment import aligned
from eval.folders import read_evaluations
from eval.page import TREES, Page
from eval.plots import draw
from eval.prices import read_prices
from eval.summary import Group, as_json, summarise
from eval.tables import LEGEND, markdown, terminal
from reason.account import DIM
from reason.errors import UsageError

DRAWS = find_spec("matplotlib") is not None
NO_PLOTS = 'no plots as PNG and SVG: they need matplotlib, pip install "reason-engine[eval]"'


@dataclass(frozen=True)
class Publication:
    """What is reported, and where it goes."""

    places: Sequence[Path]
    out: Path
    prices: Path | None = None
    trees: int = TREES
    """Thread trees at most on the page."""
    common: bool = False
    """Whether only the problems count that all were asked."""
    json: bool = False

    def write(self, console: Console) -> int:
        """Print the tables, and write page, document, figures and plots; the exit code.

        Raises UsageError for a folder or price table that cannot be read, or a place that cannot
        be written.
        """
        if self.trees < 0:
            raise UsageError(f"trees must be 0 or more, got {self.trees}")
        if (self.out / "samples.jsonl").exists():
            raise UsageError(f"{self.out} is the folder of an evaluation: give another for --out")
        prices = read_prices(self.prices) if self.prices else None
        currency = prices.currency if prices else None
        groups = summarise(aligned(read_evaluations(self.places), self.common), prices)
        if not self.json:
            for group in groups:
                console.print(*terminal(group, currency), sep="\n")
            console.print(Text(LEGEND, DIM))
        shown = not self.json and console.is_terminal
        with console.status("writing the page") if shown else nullcontext():
            page = self._files(groups, currency)
        if self.json:
            console.out(_json(groups, currency).decode(), highlight=False)
        else:
            if not DRAWS:
                console.print(Text(f"! {NO_PLOTS}", "yellow"), soft_wrap=True)
            kept = f"{page.shown:,} of {page.kept:,} thread trees" if page.kept else "no trees"
            more = " (trees=N for more)" if page.shown < page.kept else ""
            where = f"{self.out}/report.html holds {kept}{more}; beside it: report.md, report.json"
            console.print(Text(f"{where}{', plots/' if DRAWS else ''}"), soft_wrap=True)
        return 0

    def _files(self, groups: Sequence[Group], currency: str | None) -> Page:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.out}: {error.strerror}") from error
        plots = draw(groups, self.out / "plots") if DRAWS else []
        paths = [[f"plots/{name}" for name in names] for names in plots]
        page = Page(groups, currency, self.trees)
        self._put("report.json", msgspec.json.format(_json(groups, currency)) + b"\n")
        self._put("report.md", markdown(groups, currency, paths).encode())
        self._put("report.html", page.html().encode())
        return page

    def _put(self, name: str, data: bytes) -> None:
        path = self.out / name
        temporary = path.with_name(f".{name}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _json(groups: Sequence[Group], currency: str | None) -> bytes:
    found = {"currency": currency, "tasks": [as_json(group) for group in groups]}
    return msgspec.json.encode(found)
