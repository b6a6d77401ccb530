"""From a directory or a hub name to a model and its tokenizer, with errors one can read."""

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from reason.backends.hub import local, missing, unreachable
from reason.backends.tokenizer import first_line, load_tokenizer
from reason.errors import BackendError, UsageError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_pair(
    name: str, dtype: str, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Raises UsageError for a name, dtype or device that does not exist, BackendError for a
    checkpoint that is there but damaged or incomplete.
    """
    if dtype not in (*_DTYPES, "auto"):
        raise UsageError(f"dtype is {dtype!r}; expected one of {', '.join(_DTYPES)} or auto")
    place = _device(device)
    folder = local(name)
    tokenizer = load_tokenizer(name)
    disable_progress_bar()  # its bars would run through ours
    silent = None if folder else unreachable()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder or name,
            dtype=_DTYPES.get(dtype, "auto"),
            output_loading_info=True,
            local_files_only=silent is not None,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if silent:
            raise UsageError(missing(name, silent)) from None
        kind = BackendError if folder else UsageError
        raise kind(f"cannot load a model from {name}: {first_line(error)}") from None
    _check(name, report)
    return model.to(place), tokenizer


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device is {device!r}, but torch sees no GPU; use cpu or auto")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device is {device!r}; expected cpu, cuda or auto") from error
    return device


def _check(name: str, report: dict[str, Any]) -> None:
    """A weight that is missing would silently be a random one."""
    for key, what in (("missing_keys", "lacks"), ("mismatched_keys", "has of another shape")):
        wrong = sorted(str(item) for item in report.get(key) or ())
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise BackendError(f"the checkpoint {name} {what} the weight {wrong[0]}{more}")
