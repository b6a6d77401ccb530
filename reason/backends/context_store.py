"""Encoded contexts on disk: a folder of safetensors files, each named by what it depends on."""

import hashlib
import json
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from reason.backends.hf_contexts import Layers
from reason.errors import UsageError

FORMAT = "reason-context-1"


def default_folder() -> Path:
    """$REASON_CONTEXTS, or reason/contexts in the user's cache."""
    if given := os.environ.get("REASON_CONTEXTS"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reason" / "contexts"


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in one file."""

    path: Path
    model: str = ""
    tokens: int = 0
    prefix: int = 0
    """Tokens that stand before it."""
    title: str = ""
    """What it begins with, for people."""
    fault: str = ""
    """Why it is of no use."""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


class ContextStore:
    """Keys and values of contexts by their key; see `key_of`.

    A file that is damaged, or of another key than its name says, is as good as none, with a
    warning: the context is encoded again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> Layers | None:
        """The layers of a context [heads, tokens, dim]; None where there is none to be used."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            file = path.read_bytes()
            about = _about(file)
            if fault := _fault(path, about, file):
                raise ValueError(fault)
            tensors = load(file)
            return [
                (tensors[f"keys.{n}"], tensors[f"values.{n}"]) for n in range(int(about["layers"]))
            ]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            warnings.warn(
                f"the encoded context {path} is not used: {error}. `reason cache build` makes it "
                "again",
                stacklevel=2,
            )
            return None

    def save(self, key: str, layers: Layers, model: str, prefix: int, title: str) -> Path:
        """Write a context. Raises UsageError where that cannot be done."""
        tensors = {
            name: tensor.contiguous().cpu()
            for n, pair in enumerate(layers)
            for name, tensor in zip((f"keys.{n}", f"values.{n}"), pair, strict=True)
        }
        about = {
            "format": FORMAT,
            "key": key,
            "model": model,
            "layers": str(len(layers)),
            "tokens": str(layers[0][0].shape[1]),
            "prefix": str(prefix),
            "title": " ".join(title.split())[:60],
            "digest": _digest(save(tensors)),
        }
        path = self.path(key)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(save(tensors, metadata=about))
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"cannot keep contexts in {self.folder}: {error.strerror}") from error
        return path

    def entries(self) -> Iterator[Entry]:
        """What is there, in the order of the files' names."""
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                file = path.read_bytes()
                about = _about(file)
                yield Entry(
                    path,
                    about.get("model", ""),
                    int(about.get("tokens", 0)),
                    int(about.get("prefix", 0)),
                    about.get("title", ""),
                    _fault(path, about, file),
                )
            except (OSError, ValueError) as error:
                yield Entry(path, fault=f"damaged: {error}")

    def remove(self, keys: Sequence[str]) -> int:
        """Delete these entries, by key or its beginning, which may be empty; how many there were.

        Raises UsageError for a beginning that none has.
        """
        found = {path for key in keys for path in self.folder.glob(f"{_plain(key)}*.safetensors")}
        for key in filter(None, keys):
            if not any(path.name.startswith(key) for path in found):
                raise UsageError(f"no context in {self.folder} begins with {key!r}")
        for path in found:
            path.unlink()
        return len(found)

    def path(self, key: str) -> Path:
        """Where a context of that key is kept."""
        return self.folder / f"{key}.safetensors"


def _plain(key: str) -> str:
    if key and not key.isalnum():
        raise UsageError(f"a context's name is made of letters and digits, got {key!r}")
    return key


def _about(file: bytes) -> dict[str, str]:
    """What a safetensors file says of itself. Raises ValueError for any other."""
    said = _header(file).get("__metadata__", {})
    if not isinstance(said, dict):
        raise ValueError("damaged: what it says of itself is no table")
    return said


def _header(file: bytes) -> dict[str, Any]:
    """8 bytes of length, then a header in JSON."""
    try:
        (length,) = struct.unpack("<Q", file[:8])
        header = json.loads(file[8 : 8 + length])
    except (struct.error, RecursionError) as error:
        raise ValueError(f"no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("no safetensors file: its header is no table")
    return header


def _fault(path: Path, about: dict[str, str], file: bytes) -> str:
    """Why a file is not to be used, from what it says of itself and from its bytes."""
    if about.get("format") != FORMAT:
        return f"no {FORMAT} file"
    if about.get("key") != path.stem:
        return f"holds another context: {about.get('key')}"
    if about.get("digest") != _digest(file):
        return "damaged: its bytes are not those that were written"
    return ""


def _digest(file: bytes) -> str:
    """Of the tensors in a safetensors file, names and shapes included, but not what it says of
    itself."""
    header = _header(file)
    header.pop("__metadata__", None)
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    (length,) = struct.unpack("<Q", file[:8])
    digest.update(memoryview(file)[8 + length :])
    return digest.hexdigest()
