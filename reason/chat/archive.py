"""A conversation on disk: JSON lines, in which each run stands as `reason ask --record` has it."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from reason.chat.session import Part, Session
from reason.errors import UsageError
from reason.events import from_json, to_json
from reason.record import VERSION

CHAT = 1
"""Version of the file."""


def save(session: Session, path: Path) -> None:
    """Write it whole, or leave what was there. Raises UsageError while a turn goes on, and for a
    place that cannot be written."""
    if session.running:
        raise UsageError("a turn goes on: save once it has ended, or stop it first (Esc, /stop)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with open(made, "wb") as file:
                file.writelines(line + b"\n" for line in _lines(session))
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _lines(session: Session) -> Iterator[bytes]:
    model = session.host.model if session.host else ""
    yield _json({"chat": CHAT, "model": model, "settings": session.settings})
    for each in session.exchanges:
        yield _json({"said": each.said, "beside": each.beside, "settings": dict(each.spec)})
        for run in each.runs:
            yield _json({"reason": VERSION, **run.header})
            yield from map(to_json, run.events)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


async def load(session: Session, path: Path) -> None:
    """Put the conversation of that file in the place of the session's. Raises UsageError, and
    leaves the session as it is, for a file that is none or is damaged."""
    settings, parts = read(path)
    try:
        await session.restore(parts, settings)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def read(path: Path) -> tuple[Mapping[str, Any], list[Part]]:
    """Settings and turns of such a file. Raises UsageError as `load` does."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if lines.pop() != b"":
        raise UsageError(f"{path} is damaged: its last line is cut short")
    header = _object(path, 1, lines[0]) if lines else {}
    if "chat" not in header and "reason" in header:
        raise UsageError(f"{path} is a recorded run, no conversation: /replay plays it")
    if header.get("chat") != CHAT or not isinstance(header.get("settings"), dict):
        raise UsageError(f"{path} is no saved conversation: its first line is not a header")
    parts: list[Part] = []
    for number, line in enumerate(lines[1:], 2):
        found = _object(path, number, line)
        if isinstance(found.get("said"), str):
            spec = found.get("settings")
            parts.append(
                Part(found["said"], [], bool(found.get("beside")), spec if spec is not None else {})
            )
        elif parts and "reason" in found:
            parts[-1].runs.append((found, []))
        elif parts and parts[-1].runs:
            try:
                parts[-1].runs[-1][1].append(from_json(line))
            except msgspec.DecodeError as error:
                raise UsageError(f"{path}, line {number}: not an event ({error})") from error
        else:
            raise UsageError(f"{path}, line {number}: what belongs to no turn")
    for part in parts:
        if not part.runs:
            raise UsageError(f"{path} is damaged: nothing answers {part.said!r}")
    return header["settings"], parts


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}, line {number}: not an object")
    return found
