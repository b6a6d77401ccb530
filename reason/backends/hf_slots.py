"""Where keys and values live: one slot per sequence, kept after its end for those that share it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from reason.backends.hf_contexts import Layers

TILE = 32
"""Lengths read by attention are multiples of this; so is the width of a slot."""

_NARROWEST = 8 * TILE

_WORTH_WAITING = 16
"""Tokens of prefix for which a sequence waits until another has computed them."""


def tiles(length: int) -> int:
    """`length`, rounded up."""
    return -(-length // TILE) * TILE


class Owner(Protocol):
    """What holds a slot; told when the slot moves."""

    slot: int


class SlotCache:
    """Keys and values of many sequences, in tensors [slots, heads, width, dim] per layer.

    Slots and their one width grow by doubling, up to a budget of bytes. A slot without an owner
    keeps its content until it is the one used longest ago and another sequence needs the room.
    Live slots are never dropped: as they grow, they alone can exceed the budget.
    """

    def __init__(self, budget: int, limit: int, context: int) -> None:
        self.budget = budget
        self.limit = limit
        self.context = context
        self.row = 0
        """Bytes of a token, known once one was stored."""
        self.reset()

    def reset(self) -> None:
        """Drop everything; owners included."""
        self.width = _NARROWEST
        self.owners: list[Owner | None] = [None] * 2
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._tokens = np.zeros((2, self.width), np.int64)
        self._filled = np.zeros(2, np.int64)
        self.length = np.zeros(2, np.int64)
        """Tokens of each slot whose keys and values are computed."""
        self._used = np.zeros(2, np.int64)
        self._clock = 0
        self._epoch = np.zeros(2, np.int64)
        """Under which weights each slot was begun; only those of now are shared."""
        self._now = 0

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def live(self) -> list[int]:
        """Slots that have an owner, in order."""
        return [slot for slot, owner in enumerate(self.owners) if owner is not None]

    @property
    def full(self) -> bool:
        """Whether every slot has an owner."""
        return None not in self.owners

    def write(
        self, layer: int, where: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values [rows, heads, dim], and return all of the layer's.

        `where` has the flat index of each (slot, head, position).
        """
        if layer == len(self.keys):
            for kept, new in ((self.keys, keys), (self.values, values)):
                shape = (len(self), new.shape[1], self.width, new.shape[2])
                # Zeros, since a masked position still takes part: 0 * NaN is NaN.
                kept.append(torch.zeros(shape, dtype=new.dtype, device=new.device))
            both = (*self.keys, *self.values)
            row = sum(t.shape[1] * t.shape[3] * t.element_size() for t in both)
            self.row = max(self.row, row)
        k, v = self.keys[layer], self.values[layer]
        k.view(-1, k.shape[-1]).index_copy_(0, where, keys.reshape(-1, k.shape[-1]))
        v.view(-1, v.shape[-1]).index_copy_(0, where, values.reshape(-1, v.shape[-1]))
        return k, v

    def computed(
        self,
        slots: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
    ) -> None:
        """Record that these positions, in order within each slot, are now computed."""
        self._tokens[slots, positions] = tokens
        self.length[slots] = positions + 1  # of several for a slot, the last is kept
        self._filled[slots] = np.maximum(self._filled[slots], positions + 1)

    def place(self, owner: Owner, ids: Sequence[int], most: int) -> int | None:
        """Give `owner` a slot and say how many of the first `most` ids it already holds.

        Ids of tokens that read contexts have the mark of these added.

        None if it should wait: because all slots are taken, or because another sequence is about
        to compute a prefix that it can share.
        """
        self.widen(len(ids) + 1)
        source, shared, soon = self._match(ids[:most])
        if soon - shared >= _WORTH_WAITING:
            return None
        if self.owners[source] is None and shared and shared == self.length[source]:
            slot = source  # continues what is there
        else:
            free = self._free(len(ids) + 1)
            if free is None:
                return None
            slot = free
            if slot != source and shared:
                for kept in (*self.keys, *self.values):
                    kept[slot, :, :shared] = kept[source, :, :shared]
        self.owners[slot] = owner
        owner.slot = slot
        self._tokens[slot, : len(ids)] = ids
        self.length[slot] = shared
        self._filled[slot] = len(ids)
        self._epoch[slot] = self._now
        return shared

    def read(self, slot: int, start: int, end: int) -> Layers:
        """A copy of what a slot holds of the tokens [start, end)."""
        both = zip(self.keys, self.values, strict=True)
        return [(k[slot, :, start:end].clone(), v[slot, :, start:end].clone()) for k, v in both]

    def leave(self, slot: int) -> None:
        """The owner has gone; what is computed stays for others to share, unless it is stale."""
        self.owners[slot] = None
        if self._epoch[slot] != self._now:
            self.length[slot] = 0
        self._filled[slot] = self.length[slot]
        self._clock += 1
        self._used[slot] = self._clock

    def forget(self) -> None:
        """Share nothing that is there now, as after a change of the weights. Who runs goes on."""
        self._now += 1
        for slot, owner in enumerate(self.owners):
            if owner is None:
                self.length[slot] = self._filled[slot] = 0

    def wipe(self, slot: int) -> None:
        """Drop what a slot holds for good: a masked position still takes part, and 0 * NaN is
        NaN."""
        for kept in (*self.keys, *self.values):
            kept[slot] = 0
        self.length[slot] = 0

    def fits(self, need: int) -> bool:
        """Whether the budget lets one more sequence of `need` tokens in beside the live ones."""
        live = len(self.live)
        return need <= self.width or not live or self._affordable(self._wider(need)) > live

    def widen(self, need: int) -> None:
        """Make room for sequences of `need` tokens."""
        if need <= self.width:
            return
        width = self._wider(need)
        keep = self._by_worth()
        slots = max(len(self.live), min(len(keep), self._affordable(width)), 1)
        self._resize(sorted(keep[:slots]), slots, width)

    def close_gap(self) -> None:
        """Move the last live slot into the first one that is not, so that reads are contiguous."""
        live = self.live
        gap, last = next(s for s in range(len(self)) if self.owners[s] is None), live[-1]
        if gap > last:
            return
        n = int(max(self.length[gap], self.length[last]))
        for kept in (*self.keys, *self.values):
            kept[[gap, last], :, :n] = kept[[last, gap], :, :n]
        for table in (self._tokens, self._filled, self.length, self._used, self._epoch):
            table[[gap, last]] = table[[last, gap]]
        self.owners[gap], self.owners[last] = self.owners[last], None
        self._tell()

    def _match(self, ids: Sequence[int]) -> tuple[int, int, int]:
        """The slot that shares the longest computed prefix with `ids`, how long it is, and how
        long it will be once the prompts of live slots are computed."""
        n = len(ids)
        if not n:
            return 0, 0, 0
        same = self._tokens[:, :n] == np.asarray(ids, np.int64)
        prefix = np.where(same.all(1), n, same.argmin(1)) * (self._epoch == self._now)
        ready = np.minimum(prefix, self.length)
        best = int(ready.argmax())
        return best, int(ready[best]), int(np.minimum(prefix, self._filled).max())

    def _free(self, need: int) -> int | None:
        """An empty slot, a new one, or the one without an owner that was used longest ago."""
        idle = [slot for slot, owner in enumerate(self.owners) if owner is None]
        empty = next((slot for slot in idle if not self.length[slot]), None)
        if empty is not None:
            return empty
        width = self.width
        slots = min(2 * len(self), self.limit, self._affordable(width))
        if slots <= len(self) and not idle:
            # Narrower ones, after a long sequence has gone.
            width = max(_NARROWEST, tiles(2 * max(need, int(self._filled.max()))))
            slots = min(2 * len(self), self.limit, self._affordable(width))
        if slots > len(self):
            first = len(self)
            self._resize(list(range(first)), slots, width)
            return first
        return min(idle, key=self._used.__getitem__, default=None)

    def _wider(self, need: int) -> int:
        return tiles(max(need, min(2 * self.width, self.context)))

    def _affordable(self, width: int) -> int:
        """How many slots of this width the budget holds."""
        return self.budget // max(1, self.row * width)

    def _by_worth(self) -> list[int]:
        """Slots, live ones first, then those used last."""
        return sorted(range(len(self)), key=lambda s: (self.owners[s] is None, -self._used[s]))

    def _resize(self, keep: list[int], slots: int, width: int) -> None:
        n = min(width, self.width)
        # Layer by layer, so that old and new are never both whole in memory.
        for kept in (self.keys, self.values):
            for layer, old in enumerate(kept):
                new = old.new_zeros((slots, old.shape[1], width, old.shape[3]))
                new[: len(keep), :, :n] = old[keep, :, :n]
                kept[layer] = new
        tokens = np.zeros((slots, width), np.int64)
        tokens[: len(keep), :n] = self._tokens[keep, :n]
        self._tokens = tokens
        for name in ("_filled", "length", "_used", "_epoch"):
            table = np.zeros(slots, np.int64)
            table[: len(keep)] = getattr(self, name)[keep]
            setattr(self, name, table)
        self.owners = [self.owners[slot] for slot in keep] + [None] * (slots - len(keep))
        self.width = width
        self._tell()

    def _tell(self) -> None:
        for slot, owner in enumerate(self.owners):
            if owner is not None:
                owner.slot = slot
