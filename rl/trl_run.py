"""What runs of TRL's trainers share: the model they begin with, the newest checkpoint."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from reason.backends.connect import MODELS
from reason.backends.hf_load import load_pair
from reason.backends.tokenizer import load_tokenizer
from reason.errors import UsageError


def begin(model: str, dtype: str = "float32") -> tuple[Any, Any]:
    """The model, one that ships or a path or name for transformers, and its tokenizer.

    Raises UsageError for a tokenizer without a token for the end or for padding.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = tokenizer_of(model)
    network, _ = load_pair(place_of(model), dtype, device)
    tied_once(network)
    return network, tokenizer


def tied_once(network: Any) -> None:
    """Keep tied weights out of checkpoints by name, so that going on from one ties them again and
    Trainer misses none."""
    network._keys_to_ignore_on_save = {*network.all_tied_weights_keys}


def place_of(model: str) -> str:
    """Where it lies: the folder of one that ships, else the path or name itself."""
    shipped = MODELS / model
    return str(shipped) if shipped.is_dir() else model


def tokenizer_of(model: str) -> Any:
    """Its tokenizer. Raises UsageError for one without a token for the end or for padding."""
    tokenizer = load_tokenizer(place_of(model))
    for name in ("eos_token", "pad_token"):
        if getattr(tokenizer, f"{name}_id") is None:
            raise UsageError(
                f"the tokenizer of {model} has no {name}: name one in its tokenizer_config.json"
            )
    return tokenizer


def finished(folder: Path, steps: int, console: Console) -> bool:
    """Whether so many steps were made and the model is there; says so."""
    model, made = folder / "model", steps_of(newest(folder))
    if not 0 < steps <= made or not model.is_dir():
        return False
    said = f"finished before, at step {made}: the model is in {model}"
    console.print(said, markup=False, soft_wrap=True)
    return True


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in folder/checkpoints that is whole."""
    found = [
        path
        for path in (folder / "checkpoints").glob("checkpoint-*")
        if (path / "trainer_state.json").exists()
    ]
    return max(found, key=steps_of, default=None)


def steps_of(checkpoint: Path | None) -> int:
    """After how many steps it was written; 0 for none."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
