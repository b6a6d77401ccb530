"""Requests packed into rows in which every token stands once: tries in depth-first order.

Requests that share a prefix share its tokens; requests that share none stand side by side, so that
a row holds a forest, of one rollout or of many. A token sees itself and the path above it, and
nothing else: `k` is seen from `q` if k <= q < last_desc[k].

A node of the trie is a token with the token after it, so that where two requests part, the last
token before stands twice and each place has one next token to be scored (as in TRL 1.16,
trl/experimental/async_grpo/packing.py). The last token of a request scores nothing: it stands in
the row only where another request goes on behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rl.requests import Request

IGNORE = -100
"""The label of a place that is not trained."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """One row of N tokens with M terms of a loss, one for each sampled token."""

    input_ids: Tensor
    """[N]"""
    position_ids: Tensor
    """[N], the depth in the trie: positions begin anew with every root."""
    last_desc: Tensor
    """[N], the end of what is below a token, exclusive."""
    shift_labels: Tensor
    """[N], the next token where it was sampled, else -100."""
    source: Tensor
    """[M], the place whose hidden state predicts the term."""
    targets: Tensor
    """[M], the sampled tokens; where requests are the same, each has its terms."""
    place: Tensor
    """[M], which of all sampled tokens of all requests, in their order, the term is."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: Any) -> "Layout":
        """The same on another device."""
        return Layout(*(getattr(self, field.name).to(device) for field in fields(self)))


def pack(requests: Sequence[Request], budget: int | None = None) -> list[Layout]:
    """Rows of at most `budget` tokens that hold every sampled token of these requests; one row
    without a budget. Requests without a sampled token have no place in any.

    A request that is longer by itself gets a row of its own. Requests that share a prefix come
    together where the budget allows; a prefix is repeated only in another row. Raises ValueError
    for a budget under 1.
    """
    if budget is not None and budget < 1:
        raise ValueError(f"budget must be 1 or more tokens a row, got {budget}")
    first = np.cumsum([0, *(len(request.sampled) for request in requests)])
    paths = {
        index: np.array([*request.context, *request.sampled], np.int64)
        for index, request in enumerate(requests)
        if len(request.sampled)
    }
    # Big-endian bytes sort as the token ids do: neighbours share the longest prefixes there are.
    order = sorted(paths, key=lambda index: paths[index].astype(">u8").tobytes())
    rows: list[_Row] = []
    for number, index in enumerate(order):
        path = paths[index]
        shared = max(_common(paths[order[number - 1]], path) - 1, 0) if number else 0
        if not rows or (budget and rows[-1].size + len(path) - 1 - shared > budget):
            rows.append(_Row())
        rows[-1].add(path, shared, len(requests[index].context), int(first[index]))
    return [row.layout() for row in rows]


def together(layouts: Sequence[Layout], values: Sequence[Tensor]) -> Tensor:
    """The terms of all rows in the order of the requests, [sum of M]; gradients flow through it."""
    places = torch.cat([layout.place for layout in layouts])
    flat = torch.cat(list(values))
    return flat[torch.argsort(places.to(flat.device))]


def _common(one: Ints, other: Ints) -> int:
    """Length of the longest common prefix."""
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size


class _Row:
    """A row while it is put together, from sorted paths."""

    def __init__(self) -> None:
        self.size = 0
        self._paths: list[Ints] = []
        self._shared: list[int] = []
        self._starts: list[int] = []
        self._at = np.zeros(0, np.int64)  # where the nodes of the last path stand
        self._source: list[Ints] = []
        self._place: list[Ints] = []

    def add(self, path: Ints, shared: int, context: int, first: int) -> None:
        """A path whose first `shared` nodes are those of the one before; `first` is the place of
        its first sampled token."""
        shared = shared if self._paths else 0
        nodes = len(path) - 1
        new = np.arange(self.size, self.size + nodes - shared)
        self._at = np.concatenate([self._at[:shared], new])
        self._paths.append(path)
        self._shared.append(shared)
        self._starts.append(self.size)
        self._source.append(self._at[context - 1 :])
        self._place.append(np.arange(first, first + len(path) - context))
        self.size += nodes - shared

    def layout(self) -> Layout:
        pieces = list(zip(self._paths, self._shared, strict=True))
        ids = np.concatenate([path[shared:-1] for path, shared in pieces])
        after = np.concatenate([path[shared + 1 :] for path, shared in pieces])
        depths = np.concatenate([np.arange(shared, len(path) - 1) for path, shared in pieces])
        source = np.concatenate(self._source)
        labels = np.full(self.size, IGNORE, np.int64)
        labels[source] = after[source]
        found = (ids, depths, self._ends(), labels, source, after[source])
        return Layout(*map(torch.from_numpy, (*found, np.concatenate(self._place))))

    def _ends(self) -> Ints:
        """A node at depth d ends where the next path begins that shares at most d nodes."""
        ends = np.full(self.size, self.size, np.int64)
        following: list[tuple[int, int]] = []  # (shared, start) of later paths, ever less shared
        for path, shared, start in reversed(
            list(zip(self._paths, self._shared, self._starts, strict=True))
        ):
            high = len(path) - 1
            for low, end in reversed(following):
                if low < high:
                    from_ = max(low, shared)
                    ends[start + from_ - shared : start + high - shared] = end
                    high = from_
                if high <= shared:
                    break
            while following and following[-1][0] >= shared:
                following.pop()
            following.append((shared, start))
        return ends
