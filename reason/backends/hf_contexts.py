"""Contexts that were encoded each on its own, and what a sequence reads beside itself."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reason.backends.parallel_attention import merged, with_lse
from reason.types import Layout

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys, after their rotation, and values of each layer: [heads, tokens, dim]."""


def key_of(model: str, prefix: Sequence[int], context: Sequence[int]) -> str:
    """Under which the keys and values of a context are kept: the same for the same model, ids of
    the prefix and ids of the context."""
    said = f"{model}\n{list(prefix)}\n{list(context)}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class Beside:
    """Contexts as a sequence reads them: one group of keys, under a temperature and a scale."""

    layers: Layers
    prefix: int
    """Tokens of the sequence that do not read them, since they stand before."""
    offset: int
    """What is added to the positions of its other tokens: the length of the longest context."""
    temperature: float
    scale: float
    mark: int
    """Another for any other of these, added to token ids where caches compare them."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scale: float,
        softcap: float | None,
        exact: bool,
        fused: bool,
    ) -> torch.Tensor:
        """Attention of query [n, heads, dim] to its own keys and values [n, groups, keys, dim],
        with `mask` [n, keys] added to the logits, and to the contexts: [n, heads, dim]. If `exact`,
        each row is computed as if it were alone; for `fused` see `with_lse`."""
        n, heads, dim = query.shape
        grouped = query.view(n, key.shape[1], heads // key.shape[1], dim)
        rest = with_lse(grouped, key, value, mask, scale, softcap, fused=fused)
        k, v = (t[None].expand(n if exact else 1, -1, -1, -1) for t in self.layers[layer])
        contexts = with_lse(grouped, k, v, None, scale, softcap, self.temperature, fused)
        return merged(contexts, rest, self.scale * self.temperature).reshape(n, heads, -1)


class ContextCache:
    """Encoded contexts, and their unions, in memory; those used longest ago go first.

    What a running sequence reads stays, and can exceed the budget. A union is kept beside its
    parts, so that requests that read the same contexts share it. Safe to use from several threads.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        """Bytes."""
        self.size = 0
        self._held: OrderedDict[Any, tuple[int, Any]] = OrderedDict()
        self._lock = threading.RLock()
        self._marks = 0

    def __len__(self) -> int:
        """How many contexts are here."""
        return sum(isinstance(key, str) for key in self._held)

    def get(self, key: str) -> Layers | None:
        """The keys and values of a context, if they are here."""
        found: Layers | None = self._get(key)
        return found

    def add(self, key: str, layers: Layers) -> None:
        """Keep a context."""
        self._add(key, _size(layers), layers)

    def beside(self, keys: Sequence[str], layout: Layout) -> Beside | None:
        """These contexts as a sequence of that layout reads them, if that has been made."""
        found: Beside | None = self._get(_name(keys, layout))
        return found

    def unite(self, keys: Sequence[str], parts: Sequence[Layers], layout: Layout) -> Beside:
        """Make it: the contexts in the order of their keys, so that results do not depend on the
        order in which they were given, to the last bit."""
        order = sorted(range(len(keys)), key=keys.__getitem__)
        with self._lock:
            union = tuple(keys[i] for i in order)
            layers: Layers | None = self._get(union)
            if layers is None:
                several = [parts[i] for i in order]
                layers = [
                    (torch.cat([k for k, _ in layer], 1), torch.cat([v for _, v in layer], 1))
                    for layer in zip(*several, strict=True)
                ]
                self._add(union, _size(layers), layers)
            self._marks += 1
            longest = max(layout.contexts)
            numbers = (layout.prefix, longest, layout.temperature, layout.scale)
            made = Beside(layers, *numbers, self._marks << 32)
            self._add(_name(keys, layout), 0, made)
        return made

    def clear(self) -> None:
        """Drop everything, as after a change of the weights."""
        with self._lock:
            self._held.clear()
            self.size = 0

    def _get(self, key: Any) -> Any:
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][1]

    def _add(self, key: Any, size: int, what: Any) -> None:
        with self._lock:
            if key in self._held:
                self.size -= self._held[key][0]
            self._held[key] = (size, what)
            self._held.move_to_end(key)
            self.size += size
            while self.size > self.budget and len(self._held) > 1:
                _, (freed, _) = self._held.popitem(last=False)
                self.size -= freed


def _name(keys: Sequence[str], layout: Layout) -> tuple[Any, ...]:
    return (tuple(sorted(keys)), layout.prefix, layout.temperature, layout.scale)


def _size(layers: Layers) -> int:
    """Bytes."""
    return sum(t.numel() * t.element_size() for pair in layers for t in pair)
