"""Contexts of a model in this process: encoded where they are not yet, and put side by side."""

import asyncio
import json
from collections.abc import Sequence
from itertools import accumulate, pairwise

from transformers import PreTrainedModel

from reason.backends.context_store import ContextStore
from reason.backends.hf_contexts import Beside, ContextCache, Layers, key_of
from reason.backends.hf_request import Request
from reason.backends.hf_worker import Worker
from reason.errors import BackendError, Unsupported
from reason.types import Layout, SamplingParams

_CHANGING = ("dynamic", "longrope")
"""Kinds of rotary positions whose angles depend on the length of the sequence."""


class ParallelContexts:
    """Encodes contexts as requests of their own, and keeps them."""

    def __init__(
        self,
        worker: Worker,
        model: PreTrainedModel,
        *,
        name: str,
        fingerprint: str,
        context: int,
        row: int,
        cache: ContextCache,
        store: ContextStore | None,
    ) -> None:
        """`row` is the bytes of a token's keys and values, `context` the positions there are."""
        self._worker, self._context, self._row = worker, context, row
        self._model, self.name = model, name
        self.cache, self.store = cache, store
        self._identity = f"{fingerprint} {_rotation(model)}"
        self._pending: dict[tuple[int, str], asyncio.Task[Layers]] = {}

    async def beside(self, ids: Sequence[int], layout: Layout) -> tuple[list[int], Beside, int]:
        """The ids without the contexts, what they read beside themselves, and how many tokens of
        contexts did not have to be encoded.

        Raises BackendError for contexts that do not fit, Unsupported for a model whose positions
        cannot be used again.
        """
        self.check(ids, layout)
        prefix, contexts, rest = split(ids, layout)
        keys = [self.key(prefix, each) for each in contexts]
        known = self.cache.beside(keys, layout)
        if known is not None:
            return [*prefix, *rest], known, sum(layout.contexts)
        found = await asyncio.gather(
            *(self.encoded(key, prefix, each) for key, each in zip(keys, contexts, strict=True))
        )
        cached = sum(len(each) for each, (_, new) in zip(contexts, found, strict=True) if not new)
        made = self.cache.unite(keys, [layers for layers, _ in found], layout)
        return [*prefix, *rest], made, cached

    def key(self, prefix: Sequence[int], context: Sequence[int]) -> str:
        """Under which a context is kept; see `key_of`."""
        return key_of(self._identity, prefix, context)

    async def encoded(
        self, key: str, prefix: Sequence[int], context: Sequence[int]
    ) -> tuple[Layers, bool]:
        """The layers of a context, from memory or disk, or newly encoded; and whether they are."""
        layers = self.cache.get(key)
        if layers is None and self.store is not None:
            layers = await asyncio.to_thread(self.store.load, key)
            if layers is not None:
                layers = [(k.to(self._model.device), v.to(self._model.device)) for k, v in layers]
                self.cache.add(key, layers)
        if layers is not None:
            return layers, False
        loop = asyncio.get_running_loop()
        name = (id(loop), key)
        if name not in self._pending:
            self._pending[name] = loop.create_task(self._encode(key, [*prefix], [*context]))
            self._pending[name].add_done_callback(lambda _: self._pending.pop(name))
        # Several may wait for it, of whom one going away is no reason to stop.
        return await asyncio.shield(self._pending[name]), True

    async def _encode(self, key: str, prefix: list[int], context: list[int]) -> Layers:
        ids = [*prefix, *context]
        request = Request(
            [*ids, _NOTHING],
            SamplingParams(),
            asyncio.get_running_loop(),
            scored=len(ids) + 1,
            encodes=len(prefix),
        )
        await self._worker.whole(request, "encoding a context")
        self.cache.add(key, request.encoded)
        return request.encoded

    def forget(self) -> None:
        """Drop all, after a change of the weights; what is on disk is of the old ones."""
        self.cache.clear()
        self.store = None

    def check(self, ids: Sequence[int], layout: Layout) -> None:
        kind = _kind(self._model)
        if kind is None or kind in _CHANGING:
            raise Unsupported(
                f"{self.name} has {f'{kind} rotary' if kind else 'no rotary'} positions; contexts "
                "are read side by side where positions are rotations that do not depend on the "
                "length. Have them read one after another: parallel=false"
            )
        if layout.end >= len(ids):
            raise BackendError(
                f"prefix and contexts are {layout.end} tokens, and so are the ids ({len(ids)}); "
                "expected a query behind them"
            )
        for number, length in enumerate(layout.contexts, 1):
            if layout.prefix + length >= self._context:
                raise BackendError(
                    f"context {number} has {length} tokens behind a prefix of {layout.prefix}, but "
                    f"{self.name} has {self._context} positions; split it into several"
                )
        need, room = 2 * sum(layout.contexts) * self._row, self.cache.budget
        if need > room:
            raise BackendError(
                f"{len(layout.contexts)} contexts of {sum(layout.contexts)} tokens take "
                f"{need / 2**30:.2g} GiB, read side by side, but context_gib is "
                f"{room / 2**30:.2g}; raise it, or give fewer"
            )


_NOTHING = -1
"""No token: what stands behind a sequence all of whose tokens are computed."""


def split(ids: Sequence[int], layout: Layout) -> tuple[list[int], list[list[int]], list[int]]:
    """The prefix, the contexts and the rest of a sequence."""
    places = list(accumulate(layout.contexts, initial=layout.prefix))
    contexts = [list(ids[start:end]) for start, end in pairwise(places)]
    return list(ids[: layout.prefix]), contexts, list(ids[places[-1] :])


def _rotation(model: PreTrainedModel) -> str:
    config = model.config.get_text_config()
    return json.dumps(getattr(config, "rope_parameters", None), sort_keys=True, default=str)


def _kind(model: PreTrainedModel) -> str | None:
    """The kind of a model's rotary positions; None if it has none."""
    found = getattr(model.config.get_text_config(), "rope_parameters", None)
    if not found:
        return None
    return str(found.get("rope_type") or "default")
