"""Evaluations on disk as a report reads them, also while they run or where nothing may be written.

A folder of folders stands for all evaluations below it.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.samples import Sample, read_samples
from eval.shapes import Config, Times, read_checked
from eval.timing import NAME as TIMES
from eval.timing import Timed, read_times
from eval.trees import NAME as TREES
from reason.errors import UsageError
from reason.watch import clean

GIVEN = ("task", "repeats", "limit")
"""Keys of a configuration that say what was asked, not how."""
SHORT = ("budget", "sampling")
"""Tables of a configuration whose keys go by themselves where no other is called the same."""


@dataclass(frozen=True)
class Evaluation:
    """One folder, and what it is called among the others."""

    path: Path
    config: dict[str, Any]
    rows: list[Sample]
    """In order of their keys."""
    finished: bool
    timing: dict[str, Any]
    """As timing.json holds it, or empty."""
    times: Mapping[tuple[str, int], Timed]
    """Of every sample, where they are known."""
    label: str = ""
    """The method, and what sets it apart from the others of its name; no control characters."""
    left_out: int = 0
    """Samples that were taken out of `rows`."""

    @property
    def task(self) -> str:
        return clean(str(self.config["task"]))

    @property
    def method(self) -> str:
        """With those inside it."""
        return clean(" over ".join(_names(self.config["controller"])))

    @property
    def models(self) -> dict[str, str]:
        """The models by role."""
        return {role: clean(str(of["model"])) for role, of in self.config["backends"].items()}

    @property
    def expected(self) -> int | None:
        """How many samples it has in the end; None where the folder does not say."""
        if self.finished:
            return len(self.rows)
        limit, repeats = self.config.get("limit"), self.config.get("repeats")
        if isinstance(limit, int) and isinstance(repeats, int):
            return max(limit * repeats - self.left_out, len(self.rows))
        return None

    @property
    def trees(self) -> Path | None:
        """The file of its thread trees, if they were kept."""
        path = self.path / TREES
        return path if path.is_file() else None

    def seconds(self, row: Sample) -> float | None:
        """The wall clock of a run, where it is known."""
        timed = self.times.get(row.key)
        return timed.seconds if timed else None


def read_evaluations(places: Iterable[Path]) -> list[Evaluation]:
    """Every evaluation in these folders and below them, each once, in this order.

    Raises UsageError for a place without any, and for a damaged folder.
    """
    found: dict[Path, Evaluation] = {}
    for place in places:
        if not place.is_dir():
            what = "is no folder" if place.exists() else "does not exist"
            raise UsageError(f"{place} {what}: give the folder of an evaluation")
        folders = list(_below(place))
        if not folders:
            raise UsageError(
                f"{place} holds no evaluation, and no folder below it does: one has a config.json "
                "and a samples.jsonl, as `reason eval --out DIR` leaves them"
            )
        for folder in folders:
            found.setdefault(folder.resolve(), _read(folder))
    if not found:
        raise UsageError("which evaluations? for example: reason report runs/apr runs/single")
    return labelled(list(found.values()))


def labelled(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """All of them, each under a name of its own within its task.

    A method that is there once goes by its name; several of one method by the values in which
    their configurations differ, and where that is not enough by their folders.
    """
    flat = [dict(_flat(e.config)) for e in evaluations]
    labels = []
    for evaluation, own in zip(evaluations, flat, strict=True):
        same = [
            (e.task, f)
            for e, f in zip(evaluations, flat, strict=True)
            if e.method == evaluation.method
        ]
        known = {_plain(key) for _, f in same for key in f}
        values = [f"{_short(key, known)}={_value(own.get(key))}" for key in _telling(same)]
        labels.append(" ".join([evaluation.method, *values]))
    names = Counter((e.task, label) for e, label in zip(evaluations, labels, strict=True))
    return [
        replace(e, label=label if names[e.task, label] == 1 else f"{label} ({clean(str(e.path))})")
        for e, label in zip(evaluations, labels, strict=True)
    ]


def _below(place: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(place):
        below.sort(key=_naturally)
        if "config.json" in files and "samples.jsonl" in files:
            below.clear()
            yield Path(folder)


def _naturally(name: str) -> list[tuple[int, str]]:
    """n=2 before n=16."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _read(folder: Path) -> Evaluation:
    config = read_checked(folder / "config.json", Config)
    timing = read_checked(folder / "timing.json", Times)
    times = {timed.key: timed for timed in read_times(folder / TIMES)}
    finished = (folder / "metrics.json").is_file()
    rows = read_samples(folder / "samples.jsonl")
    in_order = [rows[key] for key in sorted(rows)]
    return Evaluation(folder, config, in_order, finished, timing, times)


def _flat(config: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """What an evaluation is apart from what it asks, by dotted key; of a model only its name."""
    for key, value in config.items():
        below = f"{at}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{below}.")
        elif at.startswith("backends.") and key != "model":
            continue  # the model says it
        elif at or key not in GIVEN:
            yield below, json.dumps(value, ensure_ascii=False)


def _telling(evaluations: Sequence[tuple[str, dict[str, str]]]) -> list[str]:
    """Keys in which evaluations of one task differ; no digest where another key tells them."""
    found: set[str] = set()
    for task in {task for task, _ in evaluations}:
        of = [config for other, config in evaluations if other == task]
        found |= {key for config in of for key in config if len({c.get(key) for c in of}) > 1}
    return sorted({key for key in found if not key.endswith(".sha256")} or found)


def _names(controller: Mapping[str, Any]) -> Iterator[str]:
    """Of a method and of those inside it, which have a name as well."""
    yield str(controller["name"])
    for value in controller.values():
        if isinstance(value, dict) and "name" in value:
            yield from _names(value)


def _plain(key: str) -> str:
    if key.startswith("backends."):
        role = key.split(".")[1]
        return "model" if role == "policy" else role
    return clean(key.removeprefix("controller."))


def _short(key: str, known: Collection[str]) -> str:
    """A key of the budget or of sampling by its last word, if no other key ends in it."""
    plain = _plain(key)
    table, _, last = plain.rpartition(".")
    others = [one for one in known if one == last or one.endswith(f".{last}")]
    return last if table in SHORT and others == [plain] else plain


def _value(text: str | None) -> str:
    value = _written(json.loads(text)) if text is not None else None
    if isinstance(value, str):
        return clean(value.rstrip("/").rpartition("/")[2] or value)
    return "none" if value is None else clean(json.dumps(value, ensure_ascii=False))


def _written(value: Any) -> Any:
    """2048.0 is what became of the 2048 that somebody wrote."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
