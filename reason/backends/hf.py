"""Any causal language model of transformers, in this process, many requests at a time."""

import asyncio
import math
import weakref
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reason.backends.base import Chunk, Info, Usage
from reason.backends.context_store import ContextStore
from reason.backends.detokenize import Detokenizer, StopStrings
from reason.backends.fingerprint import fingerprint
from reason.backends.hf_contexts import ContextCache
from reason.backends.hf_load import load_pair
from reason.backends.hf_model import SlotModel, context_of
from reason.backends.hf_parallel import ParallelContexts
from reason.backends.hf_request import Request
from reason.backends.hf_worker import Worker
from reason.backends.tokenizer import Tokenizer
from reason.errors import BackendError, Unsupported, UsageError
from reason.types import Contexts, Layout, Prompt, SamplingParams


class HFBackend:
    """A `Backend` that runs a model of transformers in a thread of this process.

    Requests join and leave the batch between steps, wait in line beyond `max_batch`, and share
    the prefix of any sequence still in the cache. Usable from several event loops, also one after
    another.

    `info.reproducible` is "always" for fp32 on a CPU where, as tried out on loading, the size of a
    batch does not change the bits of its results; it holds while torch's thread count stays.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str | None = None,
        max_batch: int = 64,
        context: int | None = None,
        cache_gib: float = 2.0,
        context_gib: float = 2.0,
        contexts: str = "",
    ) -> None:
        """Serve a model that is already loaded; until `close`, its attention is replaced.

        `context` lowers the model's own context length. `cache_gib` bounds the memory of
        keys and values: finished sequences leave it first, then new ones wait in line. What runs
        stays, and can exceed it. `context_gib` bounds that of contexts to be read side by side;
        `contexts` is a folder of encoded ones, in which they are looked for. Raises UsageError for
        a number out of range, Unsupported for a model with layers other than full attention.
        """
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}; expected at least 1")
        if context is not None and context < 1:
            raise UsageError(
                f"context is {context}; expected at least 1 (left out, it is the model's own)"
            )
        for label, gib in (("cache_gib", cache_gib), ("context_gib", context_gib)):
            if not 0 <= gib < math.inf:
                raise UsageError(f"{label} is {gib:g}; expected a number of GiB, 0 or more")
        longest = context_of(model)
        longest = min(longest, context) if context else longest
        shown = name or model.name_or_path or type(model).__name__
        self._tokenizer = Tokenizer(tokenizer, shown)
        self._model = SlotModel(
            model, context=longest, max_batch=max_batch, cache_bytes=int(cache_gib * 2**30)
        )
        ends = _eos(model, tokenizer)
        self._worker = Worker(self._model, eos=ends, max_batch=max_batch, context=longest)
        # A thread inside torch must not outlive the interpreter.
        weakref.finalize(self, self._worker.close)
        identity = fingerprint(model)
        self.contexts = ParallelContexts(
            self._worker,
            model,
            name=shown,
            fingerprint=identity,
            context=longest,
            row=self._model.cache.row,
            cache=ContextCache(int(context_gib * 2**30)),
            store=ContextStore(Path(contexts)) if contexts else None,
        )
        self._info = Info(
            model=shown,
            tokenizer=self._tokenizer.name,
            context=longest,
            vocabulary=model.get_input_embeddings().weight.shape[0],
            reproducible="always" if self._model.exact else "never",
            grammar=str(getattr(model.config, "reason_grammar", None) or ""),
            tokens=self._tokenizer.tokens,
            ends=tuple(sorted(ends)),
            fingerprint=identity,
        )

    @classmethod
    def load(
        cls,
        name: str,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint directory or a model of the hub.

        `threads` sets torch's thread count for the whole process; None leaves it alone. `options`
        are those of the constructor. Raises UsageError for what does not exist, BackendError for a
        damaged checkpoint, Unsupported for a model this backend cannot run.
        """
        if threads is not None:
            if threads < 1:
                raise UsageError(f"threads is {threads}; expected at least 1")
            torch.set_num_threads(threads)
        model, tokenizer = load_pair(name, dtype, device)
        return cls(model, tokenizer, **{"name": name, **options})

    @property
    def info(self) -> Info:
        return self._info

    @property
    def running(self) -> int:
        """Requests that have not ended, those that wait in line included."""
        return self._worker.running

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; see `Tokenizer.encode`."""
        return self._tokenizer.encode(prompt)

    def encode_contexts(self, prompt: Contexts) -> tuple[list[int], Layout]:
        """Token ids of contexts and their query; see `Tokenizer.encode_contexts`."""
        return self._tokenizer.encode_contexts(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some ids, special tokens included."""
        return self._tokenizer.decode(ids)

    def generate(self, ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Chunk, None]:
        """Sample a continuation; see `Backend.generate`.

        A stop string given in `params` goes before a stop token, and that before the end of the
        sequence, where one token is several of these. Raises Unsupported for a grammar,
        BackendError for ids that are not the model's.
        """
        return self._generate(ids, None, params)

    def generate_parallel(
        self, ids: Sequence[int], layout: Layout, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """Sample a continuation of contexts side by side; see `ParallelEncoder`.

        Raises BackendError for contexts that do not fit, Unsupported for a model whose positions
        cannot be used again.
        """
        return self._generate(ids, layout, params)

    async def _generate(
        self, ids: Sequence[int], layout: Layout | None, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        if params.grammar is not None:
            raise Unsupported("the hf backend cannot enforce a grammar; the sglang backend can")
        self._info.check(ids)
        usage = Usage(len(ids))
        if layout:
            self.contexts.check(ids, layout)
        positions = len(ids) - (layout.shift if layout else 0)
        if params.max_tokens == 0 or positions >= self._info.context:
            yield Chunk("", (), finish="length", usage=usage)
            return
        own, beside, there = list(ids), None, 0
        if layout:
            own, beside, there = await self.contexts.beside(ids, layout)
        stops = StopStrings(params.stop, self.decode) if params.stop else None
        request = Request(own, params, asyncio.get_running_loop(), stops, beside=beside)
        text = Detokenizer(self.decode)
        self._worker.submit(request)
        try:
            while True:
                news = await request.receive()
                last = news.finish is not None
                yield Chunk(
                    text.push(news.ids, last),
                    tuple(news.ids),
                    tuple(news.logprobs),
                    news.finish,
                    request.stopped_at if last else None,
                    Usage(len(ids), request.cached + there) if last else None,
                )
                if last:
                    return
        finally:
            request.cancelled = True

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Log-probabilities of `ids[start:]`; see `Backend.score`.

        Raises BackendError for ids that are not the model's or do not fit its context.
        """
        return await self._score(ids, None, start)

    async def score_parallel(self, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
        """Log-probabilities of `ids[start:]` behind contexts; see `ParallelEncoder`."""
        if start <= layout.end:
            raise BackendError(
                f"start is {start}; expected more than {layout.end}, the tokens up to the end of "
                "the contexts"
            )
        return await self._score(ids, layout, start)

    async def distributions(
        self, ids: Sequence[int], layout: Layout | None, start: int
    ) -> torch.Tensor:
        """Log-probabilities of every token [len(ids) - start, vocabulary], fp32, in the places of
        `ids[start:]`; with a layout, behind contexts side by side. Raises like `score`."""
        whole: list[torch.Tensor] = []
        await self._score(ids, layout, start, whole)
        return torch.cat(whole)

    async def _score(
        self,
        ids: Sequence[int],
        layout: Layout | None,
        start: int,
        whole: list[torch.Tensor] | None = None,
    ) -> list[float]:
        self._info.check(ids)
        if not 0 < start <= len(ids):
            raise BackendError(f"start is {start}; expected 0 < start <= {len(ids)}, the ids given")
        positions = len(ids) - (layout.shift if layout else 0)
        if positions > self._info.context:
            raise BackendError(
                f"{positions} ids to score, but the context of {self._info.model} is "
                f"{self._info.context}"
            )
        if start == len(ids):
            return []
        own, beside = list(ids), None
        if layout:
            own, beside, _ = await self.contexts.beside(ids, layout)
            start -= sum(layout.contexts)
        loop = asyncio.get_running_loop()
        request = Request(own, SamplingParams(), loop, scored=start, whole=whole, beside=beside)
        return (await self._worker.whole(request, "scoring")).logprobs

    def forget(self) -> None:
        """Drop the prefix cache, as one must after changing the model's weights.

        Requests that run go on with what they have computed; nothing of it is shared any more.
        """
        self._worker.forget()
        self.contexts.forget()

    async def close(self) -> None:
        """End the worker thread; requests still running end with "cancelled"."""
        await asyncio.to_thread(self._worker.close)
        self._model.release()


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end a sequence: those of the generation config, and the tokenizer's own."""
    config = model.generation_config
    ends = config.eos_token_id if config is not None else None
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(int(i) for i in (*listed, tokenizer.eos_token_id) if i is not None)
