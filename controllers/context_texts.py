"""Contexts as users give them: texts, and files by their names."""

import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from reason.errors import UsageError


def read_contexts(given: Sequence[str]) -> tuple[str, ...]:
    """Each a text, or @PATTERN for the files of that pattern in the order of their names: a context
    from each, or from every line {"text": …} of a .jsonl file.

    Raises UsageError for a pattern without files, for what is no text, and for an empty one.
    """
    found: list[str] = []
    for each in given:
        texts = _files(each[1:]) if each.startswith("@") else [(repr(each[:40]), each)]
        for place, text in texts:
            if not text.strip():
                raise UsageError(f"the context {place} is empty; leave it out")
            found.append(text)
    return tuple(found)


def _files(pattern: str) -> Iterator[tuple[str, str]]:
    paths = sorted(
        path for name in glob.glob(pattern, recursive=True) if (path := Path(name)).is_file()
    )
    if not paths:
        raise UsageError(f"no file is called {pattern!r}; contexts are given as @FILE or @*.md")
    for path in paths:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path} as text: {error}") from error
        yield from _lines(path, text) if path.suffix == ".jsonl" else [(str(path), text)]


def _lines(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, str):
            raise UsageError(f'{path}, line {number}: expected {{"text": "…"}}, got {line[:60]!r}')
        yield f"{path}, line {number}", found
