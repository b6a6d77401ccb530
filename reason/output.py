"""Where the outcome of a run goes: terminal, JSON, a picture on disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from reason.account import summary
from reason.errors import UsageError
from reason.live import print_tree, save_svg
from reason.picture import Picture


def check_writable(*paths: Path | None) -> None:
    """Raise UsageError for the first that could not be written: better now than after the run."""
    for path in paths:
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            path.open("ab").close()
            if new:
                path.unlink()
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error


@dataclass(frozen=True)
class Output:
    """A console, and what was asked for beside it."""

    console: Console
    json: bool = False
    svg: Path | None = None

    def finish(self, picture: Picture, figures: dict[str, Any], tree: bool = False) -> None:
        """Write everything down, with the final tree if told to."""
        below = summary(figures)
        if self.json:
            self.console.file.write(json.dumps(figures) + "\n")
        else:
            if tree:
                print_tree(self.console, picture)
            self.console.print(below, soft_wrap=True)
        if self.svg:
            save_svg(self.svg, picture, "", below)
