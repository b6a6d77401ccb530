"""Where a training run stands, in a folder: written whole or not at all, and by one process."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from eval.folder import read_json, write_json
from reason.backends.tokenizer import first_line
from reason.errors import TrainingError, UsageError

Tensors = dict[str, torch.Tensor]
_KEYS = {"done", "stage", "tokens", "recipe"}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While inside, nobody else trains into the folder, which is made if it does not exist.

    Raises UsageError if somebody does, or if it cannot be written. The lock ends with the process,
    however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is training into {folder}: wait for it, or give another --out"
            ) from None
        yield


def save(folder: Path, tensors: Tensors, progress: Mapping[str, Any]) -> None:
    """Write a checkpoint; `progress` has the keys done, which numbers it, stage, tokens and recipe.

    A crash in between, of the machine too, leaves the last one. Raises TrainingError.
    """
    state = _state(folder, progress["done"])
    partial = folder / "partial.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial)
        _sync(partial)
        partial.replace(state)
        _sync(folder)
        write_json(folder / "progress.json", progress)
        _sync(folder)
        for old in folder.glob("state-*.safetensors"):
            if old != state:
                old.unlink()
    except (OSError, SafetensorError, UsageError) as error:
        raise TrainingError(
            f"cannot write a checkpoint into {folder}: {first_line(error)}; the one before "
            "stands, and the same command goes on from there"
        ) from error


def progress(folder: Path) -> dict[str, Any] | None:
    """What was saved last, None if nothing was. Raises UsageError for a damaged file."""
    path = folder / "progress.json"
    found: dict[str, Any] | None = read_json(path)
    if found is not None and not (isinstance(found, dict) and found.keys() >= _KEYS):
        raise UsageError(f"{path} is not that of a training: give another --out")
    return found


def tensors(folder: Path, done: int) -> Tensors:
    """Those saved after `done` blocks. Raises UsageError for a damaged file."""
    state = _state(folder, done)
    try:
        found: Tensors = load_file(state)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{state} is damaged ({first_line(error)}): give another --out") from error
    return found


def _state(folder: Path, done: int) -> Path:
    return folder / f"state-{done}.safetensors"


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
