"""Checkpoints compared by their headers, before a server is told to load one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reason.backends.checkpoint import mismatch, replacement, shapes

SIZES = {"embed.weight": (8, 4), "layers.0.weight": (4, 4), "lm_head.weight": (8, 4)}


def save(folder: Path, sizes: dict[str, tuple[int, ...]], shards: int = 1) -> str:
    folder.mkdir()
    for i in range(shards):
        some = {name: torch.zeros(size) for name, size in list(sizes.items())[i::shards]}
        save_file(some, folder / f"model-{i}.safetensors", {"format": "pt"})
    return str(folder)


def test_shapes_of_all_shards(tmp_path: Path) -> None:
    assert shapes(save(tmp_path / "one", SIZES)) == SIZES
    assert shapes(save(tmp_path / "three", SIZES, 3)) == SIZES
    assert shapes(tmp_path) is None
    assert shapes(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, None),
        ({"embed.weight": None}, "it lacks embed.weight"),
        ({"lm_head.weight": None}, None),
        ({"embed.weight": (8, 5)}, "embed.weight has shape [8, 5], the model's has [8, 4]"),
        ({"lm_head.weight": (9, 4)}, "lm_head.weight has shape [9, 4], the model's has [8, 4]"),
        (
            {"layer.0.weight": (4, 4)},
            "the model has no tensor called layer.0.weight; is it layers.0.weight?",
        ),
        ({"xyzzy": (1,)}, "the model has no tensor called xyzzy"),
    ],
)
def test_what_cannot_take_the_place_of_a_checkpoint(
    tmp_path: Path, changes: dict[str, tuple[int, ...] | None], expected: str | None
) -> None:
    sizes = {name: size for name, size in (SIZES | changes).items() if size}
    old, new = save(tmp_path / "old", SIZES), save(tmp_path / "new", sizes)
    assert replacement(new, old) == expected
    assert replacement(new, str(tmp_path)) is None


def test_a_tied_output_layer_may_be_given_or_not() -> None:
    without = {name: size for name, size in SIZES.items() if name != "lm_head.weight"}
    assert mismatch(SIZES, without) is None
    assert mismatch(without, SIZES) is None
