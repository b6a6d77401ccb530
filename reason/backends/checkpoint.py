"""What a checkpoint holds, from the headers of its files: names and shapes of its tensors."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]
"""Of tensors, by name."""
TIED = "lm_head.weight"
"""Saved or left out by turns where it is the embedding's."""


def shapes(folder: str | Path) -> Shapes | None:
    """Of the tensors in a folder of safetensors; None if there is no such folder here."""
    files = sorted(Path(folder).expanduser().glob("*.safetensors"))
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        header.pop("__metadata__", None)
        found |= {name: tuple(tensor["shape"]) for name, tensor in header.items()}
    return found or None


def mismatch(given: Shapes, expected: Shapes) -> str | None:
    """Why `given` cannot take the place of `expected`, or of some of it; None if it can."""
    for name, shape in given.items():
        if name not in expected:
            if name == TIED:
                continue
            near = get_close_matches(name, expected, 1)
            return f"the model has no tensor called {name}" + (
                f"; is it {near[0]}?" if near else ""
            )
        if shape != expected[name]:
            return f"{name} has shape {list(shape)}, the model's has {list(expected[name])}"
    return None


def replacement(folder: str, old: str) -> str | None:
    """Why the checkpoint in a folder cannot replace the old one whole; None if it can, or if one
    of them cannot be read here."""
    given, expected = shapes(folder), shapes(old)
    if not given or not expected:
        return None
    left = [name for name in expected if name not in given and name != TIED]
    return mismatch(given, expected) or (f"it lacks {left[0]}" if left else None)
