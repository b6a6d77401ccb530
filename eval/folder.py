"""The JSON files of an evaluation's folder: written whole or not at all, and the same run again."""

import json
import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from reason.errors import UsageError

GROWS = ("limit", "repeats")
"""Keys of a configuration of which an evaluation can be given more: what is there stays valid."""


def write_json(path: Path, value: Any) -> None:
    """Put `value` (dataclasses and structs too) in place of the file, in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    data = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """What the file holds, None if there is no file. Raises UsageError for anything else."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error


def discard(path: Path) -> None:
    """Remove the file if there is one."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot remove {path}: {error.strerror}") from error


def whole(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def settle_config(
    path: Path, config: Mapping[str, Any], begun: bool, what: str = "evaluation"
) -> None:
    """Write the configuration into a new folder; in one that has begun, insist on the same.

    What is in GROWS may have become more. Raises UsageError that names every key that differs,
    with both values; where two names differ, not what belongs to them.
    """
    resolved = msgspec.json.decode(msgspec.json.encode(dict(config), enc_hook=str))
    there = read_json(path)
    if there is None:
        if begun:
            raise UsageError(f"{path.parent} holds samples but no {path.name}: give another folder")
        write_json(path, resolved)
        return
    insist(path, config, what)
    if there != resolved:
        discard(path.with_name("metrics.json"))  # before it is that of a part
        write_json(path, resolved)


def insist(path: Path, config: Mapping[str, Any], what: str = "evaluation") -> None:
    """Raise UsageError as `settle_config` for a folder of another configuration; write nothing."""
    there = read_json(path)
    if there is None:
        return
    resolved = msgspec.json.decode(msgspec.json.encode(dict(config), enc_hook=str))
    wrong = _wrong(there, resolved)
    if wrong:
        told = [
            f"{key} ({old} there, {new} now" + ("; it can only grow)" if key in GROWS else ")")
            for key, old, new in wrong
        ]
        raise UsageError(
            f"{path.parent} holds another {what}; what differs: {', '.join(told)}. "
            "Give the same options to resume it, or another folder."
        )


def conflicts(path: Path, config: Mapping[str, Any], unknown: Container[str]) -> list[str]:
    """What keeps a folder from going on with this configuration, each key with both values; nothing
    where there is none yet. Keys of `unknown`, and what is below them, are not looked at."""
    there = read_json(path)
    if not isinstance(there, dict):
        return []
    resolved = msgspec.json.decode(msgspec.json.encode(dict(config), enc_hook=str))
    return [
        f"{key} is {old} there, {new} now" + (", and can only grow" if key in GROWS else "")
        for key, old, new in _wrong(there, resolved)
        if key.partition(".")[0] not in unknown and key not in unknown
    ]


def _wrong(there: Any, resolved: Any) -> list[tuple[str, str, str]]:
    """Keys that differ, but for what only grew, with both values."""
    old, new = dict(_flat(there)), dict(_flat(resolved))
    missing = object()
    changed = {k for k in old.keys() | new.keys() if old.get(k, missing) != new.get(k, missing)}
    others = tuple(k.removesuffix("name") for k in changed if k.endswith(".name"))
    named = sorted(k for k in changed if k.endswith(".name") or not k.startswith(others))
    return [
        (key, _shown(old, key), _shown(new, key))
        for key in named
        if not _grew(key, old.get(key), new.get(key))
    ]


def _grew(key: str, old: Any, new: Any) -> bool:
    return key in GROWS and isinstance(old, int) and isinstance(new, int) and new > old


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not at):
        for key, below in value.items():
            yield from _flat(below, f"{at}.{key}" if at else key)
    else:
        yield at, value


def _shown(table: Mapping[str, Any], key: str) -> str:
    return json.dumps(table[key], ensure_ascii=False) if key in table else "absent"
