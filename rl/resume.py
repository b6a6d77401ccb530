"""Where a training that was stopped goes on: its newest checkpoint, if that can be read."""

import errno
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError, safe_open

from reason.backends.tokenizer import first_line
from reason.errors import ReasonError, TrainingError, UsageError
from rl.log import cut
from rl.trl_run import newest, steps_of

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What a disk says that takes no more."""
REFUSED = ("PytorchStreamWriter", "inline_container", "I/O error", "IoError")
"""Words by which torch and safetensors say the same."""


def going_on(folder: Path, console: Console, first: bool = True) -> Path | None:
    """The checkpoint to go on from, None for a start. The `first` process cuts the log back to it
    and says so. Raises UsageError for one that is damaged."""
    last = newest(folder)
    if last:
        _sound(last)
    if first:
        cut(folder, steps_of(last))
    if last:
        console.print(f"going on from {last}", markup=False, soft_wrap=True)
    return last


def kept(folder: Path, key: str) -> str:
    """What Ctrl-C leaves; `key` is that of the steps between two checkpoints."""
    last = newest(folder)
    if last:
        return f"the last checkpoint is {last}; the same command goes on from there"
    return f"no checkpoint was made yet: the same command starts over ({key}=N saves more often)"


def anew(folder: Path) -> str:
    """What can be done where weights became no numbers."""
    last = newest(folder)
    if last:
        return (
            f"the last checkpoint is {last}: start anew from it with model={last}, a lower "
            "grpo.learning_rate and another --out"
        )
    return (
        "no checkpoint was made yet: start anew with a lower grpo.learning_rate and another --out"
    )


@contextmanager
def writing(folder: Path, key: str) -> Iterator[None]:
    """While inside, a disk that takes no more ends the training with a TrainingError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, UsageError) as error:
        if not _full(error):
            raise
        raise TrainingError(
            f"cannot write into {folder}: {first_line(error)}; make room there. "
            + sentence(kept(folder, key))
        ) from error


def sentence(words: str) -> str:
    """With a capital letter."""
    return words[0].upper() + words[1:]


def _full(error: BaseException) -> bool:
    if isinstance(error, ReasonError):
        return error.__cause__ is not None and _full(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(word in str(error) for word in REFUSED)


def _sound(checkpoint: Path) -> None:
    """Raise UsageError for a file of it that is cut short or empty. Tensors are not read."""
    for file in sorted(checkpoint.iterdir()):
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, "pt"):
                    pass
            elif file.suffix in (".pt", ".pth"):
                with zipfile.ZipFile(file):
                    pass
            elif file.suffix == ".json":
                json.loads(file.read_text())
        except (OSError, SafetensorError, zipfile.BadZipFile, ValueError) as error:
            folder = checkpoint.parent
            whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
            others = [steps_of(path) for path in whole if path != checkpoint]
            before = f"checkpoint-{max(others)}" if others else "the start"
            raise UsageError(
                f"{file} is damaged ({first_line(error)}): remove the folder {checkpoint}, and the "
                f"same command goes on from {before}"
            ) from error
