"""Forward passes of batches in which some requests read contexts side by side."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from reason.backends.sglang_ape.attention import two_groups
from reason.backends.sglang_ape.reading import Reading
from reason.types import Layout


@dataclass(frozen=True)
class Row:
    """A request of a batch that reads contexts."""

    index: int
    """Its place in the batch."""
    start: int
    """Of its tokens among the batch's."""
    count: int
    slots: torch.Tensor
    """KV slots of its whole sequence, (length,)."""
    layout: Layout


class ParallelForward:
    """Stands around a model runner's `forward` and, for such batches, its attention backend's.

    A batch without such requests goes through untouched. In the others, their positions are shifted
    behind the longest context, and in every layer what the backend has made of their tokens is
    replaced; the backend writes the KV as ever. That asks nothing of the backend but KV of shape
    (slots, KV heads, width). Graphs captured on a GPU hold the backend's kernels alone: a batch
    with such requests, all of it, runs without them.

    Tested on the CPU with the torch_native backend. On a GPU, and with tensor parallelism, it was
    never run.
    """

    def __init__(self, runner: Any, readings: Mapping[str, Reading]) -> None:
        """Take the runner's place; `readings` are by the ids of requests."""
        self._runner, self._readings = runner, readings
        self._rows: list[Row] = []
        self._seen: Any = None
        self._shorter: Any = None
        self._attend: Any = None
        self._forward, runner.forward = runner.forward, self.forward

    def forward(self, batch: Any, *args: Any, **options: Any) -> Any:
        """As `ModelRunner.forward`."""
        if not self._readings:
            return self._forward(batch, *args, **options)
        rows = self._find(batch)
        if not rows:
            return self._forward(batch, *args, **options)
        positions = batch.positions.clone()
        for row in rows:
            positions[row.start : row.start + row.count] -= row.layout.shift
        batch.positions = positions
        runner, backend = self._runner, self._runner.attn_backend
        graphs = runner.decode_cuda_graph_runner, runner.prefill_cuda_graph_runner
        runner.decode_cuda_graph_runner = runner.prefill_cuda_graph_runner = None
        self._rows, self._attend = rows, backend.forward
        backend.forward = self.attend
        try:
            return self._forward(batch, *args, **options)
        finally:
            del backend.forward  # of the object; that of its class shows again
            self._rows, self._seen, self._shorter = [], None, None
            runner.decode_cuda_graph_runner, runner.prefill_cuda_graph_runner = graphs

    def attend(
        self, q: Any, k: Any, v: Any, layer: Any, batch: Any, save: bool = True, **more: Any
    ) -> Any:
        """As `AttentionBackend.forward`."""
        out = self._attend(q, k, v, layer, self._short(batch), save, **more)
        pool = self._runner.token_to_kv_pool
        keys, values = pool.get_key_buffer(layer.layer_id), pool.get_value_buffer(layer.layer_id)
        queries = q.reshape(-1, layer.tp_q_head_num, layer.qk_head_dim)
        answers = out.view(-1, layer.tp_q_head_num, layer.v_head_dim)
        for row in self._rows:
            tokens = slice(row.start, row.start + row.count)
            answers[tokens] = two_groups(
                queries[tokens],
                keys[row.slots],
                values[row.slots],
                prefix=row.layout.prefix,
                end=row.layout.end,
                temperature=row.layout.temperature,
                scale=row.layout.scale,
                scaling=layer.scaling,
                cap=layer.logit_cap,
            ).to(out.dtype)
        return out

    def _find(self, batch: Any) -> list[Row]:
        found = [self._readings.get(rid) for rid in batch.rids or ()]
        if not any(found):
            return []
        decodes = batch.forward_mode.is_decode()
        counts = [1] * len(found) if decodes else batch.extend_seq_lens_cpu
        at = batch.seq_lens_cpu if batch.seq_lens_cpu is not None else batch.seq_lens
        lengths, places = at.tolist(), batch.req_pool_indices.tolist()
        table, rows, start = self._runner.req_to_token_pool.req_to_token, [], 0
        for index, (reading, count) in enumerate(zip(found, counts, strict=True)):
            if reading is not None:
                slots = table[places[index], : lengths[index]].long()
                rows.append(Row(index, start, count, slots, reading.layout))
            start += count
        return rows

    def _short(self, batch: Any) -> Any:
        """The batch with these requests cut to the tokens they add, for a backend that reads the
        batch in every layer and pads what is added to the whole of a sequence: for what is replaced
        afterwards, less will do."""
        if type(self._runner.attn_backend).__name__ != "TorchNativeAttnBackend":
            return batch
        if self._seen is not batch:
            short = copy.copy(batch)
            short.seq_lens = batch.seq_lens.clone()
            if batch.extend_prefix_lens is not None:
                short.extend_prefix_lens = batch.extend_prefix_lens.clone()
            for row in self._rows:
                short.seq_lens[row.index] = row.count
                if batch.extend_prefix_lens is not None:
                    short.extend_prefix_lens[row.index] = 0
            self._seen, self._shorter = batch, short
        return self._shorter
