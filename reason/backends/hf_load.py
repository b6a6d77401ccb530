"""From a directory or a hub name to a model and its tokenizer, with errors one can read."""

import re
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
    """The device meant. Raises UsageError for one that is not there."""
    count = torch.cuda.device_count()
    if device == "auto":
        return "cuda" if count else "cpu"
    number = re.fullmatch(r"cuda(?::(\d+))?", device)
    if device != "cpu" and number is None:
        raise UsageError(f"device is {device!r}; expected cpu, cuda, cuda:NUMBER or auto")
    if number and int(number[1] or 0) >= count:
        last = f" to {count - 1}" if count > 1 else ""
        seen = f"only cuda:0{last}" if count else "no GPU; use cpu or auto"
        raise UsageError(f"device is {device!r}, but torch sees {seen}")
    return device


def _check(name: str, report: dict[str, Any]) -> None:
    """A weight that is missing would silently be a random one."""
    for key, what in (("missing_keys", "lacks"), ("mismatched_keys", "has of another shape")):
        wrong = sorted(str(item) for item in report.get(key) or ())
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise BackendError(f"the checkpoint {name} {what} the weight {wrong[0]}{more}")
