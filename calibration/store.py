"""A calibration as a file: JSON, one score a line, with all that it is only valid for."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from calibration.sample import Sample
from calibration.scores import score_named
from reason.errors import UsageError

FORMAT = "reason-calibration"
VERSION = 1


@dataclass(frozen=True)
class Identity:
    """What the scores are of: with anything else the rate is not what was asked for."""

    draft: str
    target: str
    data: str
    """The data set, and the part of it."""
    score: str = "perplexity"
    """A name of scores.SCORES."""
    config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """What else the scores depend on: tokens a turn, temperature, prompt, take-overs, …"""

    def by_name(self) -> dict[str, object]:
        """All of it, in one table."""
        own = {name: getattr(self, name) for name in ("draft", "target", "data", "score")}
        return own | dict(self.config)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and what they are of."""

    identity: Identity
    sample: Sample


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    draft: str
    target: str
    data: str
    score: str
    config: dict[str, str | int | float | bool]
    rows: list[tuple[float, str, int, int]]


def save(calibration: Calibration, path: Path) -> None:
    """Put it in place of the file, in one step. Raises UsageError where that is impossible."""
    found, sample = calibration.identity, calibration.sample
    header = {
        "format": FORMAT,
        "version": VERSION,
        "draft": found.draft,
        "target": found.target,
        "data": found.data,
        "score": found.score,
        "config": dict(found.config),
    }
    columns = (sample.scores.tolist(), sample.questions, sample.turns.tolist())
    rows = zip(*columns, sample.lengths.tolist(), strict=True)
    lines = ",\n".join(f"    {json.dumps(row, allow_nan=False)}" for row in rows)
    body = json.dumps(header, indent=2, allow_nan=False).removesuffix("\n}")
    text = f'{body},\n  "rows": [\n{lines}\n  ]\n}}\n'
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path) -> Calibration:
    """What the file holds.

    Raises UsageError for a file that cannot be read, of another format or version, and for content
    that `save` would not have written: a score that is not finite, rows that are not in the order
    of their scores, a field too many or too few.
    """

    def refuse(what: str) -> NoReturn:
        raise UsageError(
            f"{path} is not a calibration as this version writes it: {what}; calibrate again"
        )

    def not_finite(name: str) -> NoReturn:
        refuse(f"it holds {name}, expected finite scores")

    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=not_finite)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        refuse(f"it is not valid JSON ({error})")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        kind = found.get("format") if isinstance(found, dict) else type(found).__name__
        refuse(f"its format is {kind!r}, expected {FORMAT!r}")
    if found.get("version") != VERSION:
        refuse(f"its version is {found.get('version')!r}, expected {VERSION}")
    try:
        file = msgspec.convert(found, _File)
        score_named(file.score)
        sample = Sample.of(
            [row[0] for row in file.rows],
            [row[1] for row in file.rows],
            [row[2] for row in file.rows],
            [row[3] for row in file.rows],
        )
    except (msgspec.ValidationError, UsageError) as error:
        refuse(str(error))
    for number, (one, other) in enumerate(pairwise(file.rows)):
        if other[0] < one[0]:
            refuse(
                f"score {number + 1} is {other[0]:g} after {one[0]:g}, expected ascending scores"
            )
    identity = Identity(file.draft, file.target, file.data, file.score, file.config)
    return Calibration(identity, sample)


def differences(one: Identity, other: Identity, but: str = "") -> list[str]:
    """The names of what is not the same, each with both values; `but` is not looked at."""
    old, new = one.by_name(), other.by_name()
    return [
        f"{name} ({old.get(name, 'absent')} there, {new.get(name, 'absent')} now)"
        for name in {**new, **old}
        if name != but and old.get(name) != new.get(name)
    ]


def check_identity(
    calibration: Calibration,
    *,
    draft: str | None = None,
    target: str | None = None,
    data: str | None = None,
    score: str | None = None,
    config: Mapping[str, str | int | float | bool] | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Nothing, if it is of these: models, data, score and configuration, where they are named.

    Raises UsageError for what differs; with `force` that is returned, one sentence for each, for
    the user to read beside the results.
    """
    asked: dict[str, object] = {"draft": draft, "target": target, "data": data, "score": score}
    asked |= config or {}
    known = calibration.identity.by_name()
    differing = tuple(
        f"the calibration is of the {name} {known.get(name)!r} and is used with {value!r}: "
        "the rate of rejections may be any"
        for name, value in asked.items()
        if value is not None and value != known.get(name)
    )
    if differing and not force:
        raise UsageError(
            f"{'; '.join(differing)}; calibrate again for these, or use it all the same with "
            "force=true"
        )
    return differing
