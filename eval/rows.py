"""Rows of a data set: of the Hub at one revision, or of a JSONL or Parquet file.

Every row knows where it stands, so that a bad one can be found and mended.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from reason.errors import UsageError
from reason.extras import extra

SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row by its columns; the methods raise UsageError for what is not there."""

    where: str
    values: Mapping[str, Any]

    def value(self, *columns: str) -> Any:
        """What stands in the first of these columns that there is."""
        for column in columns:
            if column in self.values:
                return self.values[column]
        raise UsageError(
            f"{self.where}: there is no column {' or '.join(columns)}; there is: "
            f"{', '.join(map(str, self.values)) or 'none'}"
        )

    def text(self, *columns: str) -> str:
        """A text that is not empty."""
        value = self.value(*columns)
        if not isinstance(value, str) or not value.strip():
            raise UsageError(
                f"{self.where}: {self._name(columns)} must be a text that is not empty, "
                f"got {_shown(value)}"
            )
        return value.strip()

    def answer(self, *columns: str) -> str:
        """A text, perhaps empty, or a number; 27.0 is 27."""
        value = self.value(*columns)
        if isinstance(value, float) and isfinite(value) and value.is_integer():
            value = int(value)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number and not isinstance(value, str):
            raise UsageError(
                f"{self.where}: {self._name(columns)} must be a text or a number, "
                f"got {_shown(value)}"
            )
        return str(value).strip()

    def _name(self, columns: tuple[str, ...]) -> str:
        return next(column for column in columns if column in self.values)


def from_file(path: Path) -> Iterator[Row]:
    """The rows of a local file. Raises UsageError naming the line that is no row."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} must end in {' or '.join(SUFFIXES)}")
    try:
        yield from _parquet(path) if path.suffix == ".parquet" else _jsonl(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def from_hub(name: str, config: str | None, split: str, revision: str) -> Iterator[Row]:
    """The rows of one split; a revision that is in the cache needs no network."""
    with extra("eval"):
        import datasets
        import httpx
        from datasets.exceptions import DatasetsError

    from reason.backends.hub import unreachable

    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity_error()
    failures = (OSError, ValueError, KeyError, DatasetsError, httpx.HTTPError)
    try:
        cached = _cached(name, config, revision)
        if Path(cached.cache_dir).is_dir():
            found = cached.as_dataset(split=split)
        elif silent := unreachable():
            raise UsageError(
                f"{name} is not in the cache of the Hub at revision {revision}, and {silent}"
            )
        else:
            found = datasets.load_dataset(name, config, split=split, revision=revision)
            if (held := Path(found.cache_files[0]["filename"]).parent.name) != revision:
                raise UsageError(f"the Hub failed on {name}, and its cache holds only {held}")
    except failures as error:
        raise UsageError(f"cannot load {name} from the Hub: {_said(error)}") from error
    for number, values in enumerate(found, 1):
        yield Row(f"{name}, row {number}", values)


def _cached(name: str, config: str | None, revision: str) -> Any:
    """What the cache holds of this very revision; off line, `load_dataset` takes the latest."""
    from datasets.packaged_modules.cache.cache import Cache

    return Cache(
        repo_id=name,
        dataset_name=name.rpartition("/")[2],
        config_name=config or "default",
        version="0.0.0",
        hash=revision,
    )


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:  # bytes that are no UTF-8 too
                raise UsageError(f"{where}: not a JSON object ({error})") from None
            except RecursionError:
                raise UsageError(f"{where}: not a JSON object (nested too deeply)") from None
            if not isinstance(values, dict):
                raise UsageError(f"{where}: not a JSON object, but {_shown(values)}")
            yield Row(where, values)


def _parquet(path: Path) -> Iterator[Row]:
    with extra("eval"):
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number}", values)
    except ArrowException as error:
        raise UsageError(f"{path}, after row {number}: not Parquet ({_said(error)})") from error


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
