"""SGLang's prefix cache, which answers a query with the KV of all its contexts at once.

Nothing is copied: a context is encoded by an ordinary request `prefix + context`, whose KV stays in
the radix tree, at the positions behind the prefix, as APE wants it. A query's row of KV slots is
then prefix, context 1, ..., context m, out of m branches of the tree. All of them are locked while
it runs, and nothing that it computes enters the tree, where its tokens would stand for other KV.
"""

from array import array
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache

from reason.backends.sglang_ape import wire
from reason.backends.sglang_ape.pins import Pins
from reason.backends.sglang_ape.reading import Reading
from reason.types import Layout


class Branches(int):
    """The node in which a query's first context ends, as the scheduler passes it about; with it,
    those of all."""

    leaves: tuple[int, ...]


@dataclass
class Locks:
    """One lock for each branch of a query, in place of SGLang's TreeLock."""

    each: list[Any]


class ContextCache(UnifiedRadixCache):  # type: ignore[misc]
    """A `UnifiedRadixCache`; to requests without the plug-in's `custom_params` it is no other."""

    def __init__(
        self, params: Any, *, readings: MutableMapping[str, Reading], positions: int
    ) -> None:
        """`readings` is filled with the requests that read contexts, by their ids; `positions` is
        how many the model has."""
        self._readings, self._positions = readings, positions
        self._pins = Pins(params.token_to_kv_pool_allocator.size)
        super().__init__(params)

    def reset(self) -> None:
        self._pins.clear()
        super().reset()

    def match_prefix(self, params: Any) -> Any:
        """The prefix that is in the cache; of a query, all its contexts, or it is aborted."""
        req = params.req
        custom = req.sampling_params.custom_params if req is not None else None
        if not isinstance(custom, dict) or wire.NAME not in custom or req.to_finish is not None:
            return super().match_prefix(params)
        said = custom[wire.NAME]
        if isinstance(said, dict) and said.get("warm"):
            self._pins.add(_key(req, array("q", req.origin_input_ids)))
            return super().match_prefix(params)
        try:
            reading = getattr(req, wire.NAME, None) or self._begin(req, wire.layout_of(said))
            if len(params.key) < reading.layout.end:
                raise ValueError("expected logprobs of nothing before the last context's end")
        except ValueError as error:
            return self._abort(params, f"{wire.NAME} refused: {error}", 400, "BadRequestError")
        matches = [
            super(ContextCache, self).match_prefix(MatchPrefixParams(key=key))
            for key in reading.keys
        ]
        pairs = enumerate(zip(matches, reading.keys, strict=True))
        gone = [n for n, (match, key) in pairs if match.device_prefix_len < len(key)]
        if gone:
            return self._abort(params, wire.missing(gone), wire.STATUS, "ContextsMissing")
        node = Branches(matches[0].last_device_node)
        node.leaves = tuple(match.last_device_node for match in matches)
        end = reading.layout.end
        return matches[0]._replace(
            device_prefix_len=end,
            last_device_node=node,
            last_host_node=node,
            best_match_node=node,
            host_hit_length=0,
            cache_protected_len=end,
            full_kv_hit_length=end,
            last_visited_node_id=None,
            full_device_match_len=None,
        )

    def prefix_device_indices(self, req: Any) -> torch.Tensor:
        """KV slots of what was matched, (req.prefix_len,)."""
        if not isinstance(req.last_node, Branches):
            slots: torch.Tensor = super().prefix_device_indices(req)
            return slots
        reading: Reading = getattr(req, wire.NAME)
        root, prefix = self.root_node_handle(req.extra_key), reading.layout.prefix
        paths = [
            self.tree_core.collect_full_device_indices(leaf, root)[: len(key)]
            for leaf, key in zip(req.last_node.leaves, reading.keys, strict=True)
        ]
        for key in reading.keys:
            self._pins.remove(key)
        return torch.cat([paths[0][:prefix], *(path[prefix:] for path in paths)])

    def lock(self, node_id: Any, skip_lock_components: Any = ()) -> Any:
        if isinstance(node_id, Branches):
            each = super().lock
            return Locks([each(leaf, skip_lock_components) for leaf in node_id.leaves])
        return super().lock(node_id, skip_lock_components)

    def unlock(self, lock: Any) -> None:
        for each in lock.each if isinstance(lock, Locks) else [lock]:
            super().unlock(each)

    def evict(self, params: Any) -> Any:
        self._pins.touch(self.touch_prefix)
        result = super().evict(params)
        self._pins.evicted(result.num_tokens_evicted)
        return result

    def evict_for_alloc(self, params: Any, **options: Any) -> Any:
        self._pins.touch(self.touch_prefix)
        result = super().evict_for_alloc(params, **options)
        self._pins.evicted(result.num_tokens_evicted)
        return result

    def on_release(self, req: Any, *, checkpointed: bool) -> None:
        super().on_release(req, checkpointed=checkpointed)
        reading: Reading | None = getattr(req, wire.NAME, None)
        if reading is not None and not req.finished():  # retracted: it comes again
            for key in reading.keys:
                self._pins.add(key)

    def _begin(self, req: Any, layout: Layout) -> Reading:
        """What a request reads. Raises ValueError for a layout that does not fit it."""
        ids, prefix = req.origin_input_ids, layout.prefix
        if layout.end >= len(ids):
            raise ValueError(
                f"prefix and contexts have {layout.end} tokens of {len(ids)}, and nothing is left "
                "to read them"
            )
        room = self._positions - (len(ids) - layout.shift)
        if room < 0:
            raise ValueError(
                f"prefix, longest context and the rest have {len(ids) - layout.shift} tokens; the "
                f"model has {self._positions} positions"
            )
        sampling = req.sampling_params
        # The model's own positions end where those of a sequence of this length would not.
        sampling.max_new_tokens = min(sampling.max_new_tokens, room)
        starts = [prefix + sum(layout.contexts[:n]) for n in range(len(layout.contexts))]
        keys = [
            _key(req, array("q", ids[:prefix]) + array("q", ids[start : start + length]))
            for start, length in zip(starts, layout.contexts, strict=True)
        ]
        reading = Reading(layout, keys)
        req.skip_radix_cache_insert = True
        setattr(req, wire.NAME, reading)
        self._readings[req.rid] = reading
        return reading

    def _abort(self, params: Any, message: str, status: int, kind: str) -> Any:
        """Have a request end with an error; it takes one more step, on a single token."""
        req = params.req
        req.skip_radix_cache_insert = True
        if getattr(req, wire.NAME, None) is not None:
            delattr(req, wire.NAME)
        self._readings.pop(req.rid, None)
        req.set_finish_with_abort(message, status_code=status, err_type=kind)
        # Else the sequence that it no longer has would be computed in that step.
        req.full_untruncated_fill_ids = req.origin_input_ids + req.output_ids
        return super().match_prefix(MatchPrefixParams(key=_key(req, array("q"))))


def _key(req: Any, ids: "array[int]") -> Any:
    return RadixKey(ids, extra_key=req.extra_key, cache_salt=req.cache_salt)
