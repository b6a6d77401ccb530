"""A model of transformers, run over slots: tokens and places in, logits out."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from reason.backends import hf_attention
from reason.backends.hf_attention import Batch, Run
from reason.backends.hf_contexts import Beside
from reason.backends.hf_slots import SlotCache, tiles
from reason.errors import Unsupported

_LEAST = 16
"""Fewest rows of a pass. Matrix products of fewer rows use other kernels, that round otherwise."""

_CALL = 512
"""What a call of attention costs, in positions of one row; an estimate, for a CPU."""

_FULL = {"full_attention", "sliding_attention"}


class Rows:
    """The tokens of one forward pass, side by side, and how attention reads them."""

    def __init__(self) -> None:
        self.slots: list[npt.NDArray[np.int64]] = []
        self.positions: list[npt.NDArray[np.int64]] = []
        self.tokens: list[npt.NDArray[np.int64]] = []
        self.besides: list[tuple[int, int, Beside]] = []
        """Rows [start, stop) that read contexts beside their slots."""
        self.runs: list[Run] = []
        self.count = 0

    def stretch(
        self, slot: int, start: int, tokens: Sequence[int], beside: Beside | None = None
    ) -> None:
        """Consecutive tokens of one sequence, the first at index `start`; all or none of them read
        contexts."""
        n = len(tokens)
        self.slots.append(np.full(n, slot, np.int64))
        self.positions.append(np.arange(start, start + n, dtype=np.int64))
        self.tokens.append(np.asarray(tokens, np.int64))
        self._run(self.count, self.count + n, slot, start + n, True, beside)
        self.count += n

    def column(
        self,
        slots: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
        besides: Sequence[Beside | None],
    ) -> None:
        """One token each of many sequences, in the order of their slots, and what each reads."""
        for first, end, longest in _runs(slots.tolist(), (positions + 1).tolist(), besides):
            start, stop = self.count + first, self.count + end
            self._run(start, stop, int(slots[first]), longest, False, besides[first])
        self.slots.append(slots)
        self.positions.append(positions)
        self.tokens.append(tokens)
        self.count += len(slots)

    def _run(
        self, start: int, stop: int, slot: int, length: int, shared: bool, beside: Beside | None
    ) -> None:
        self.runs.append(Run(start, stop, slot, tiles(length), shared, beside))
        if beside:
            self.besides.append((start, stop, beside))


def _runs(
    slots: list[int], lengths: list[int], besides: Sequence[Beside | None]
) -> Iterator[tuple[int, int, int]]:
    """Rows [first, end) that are attended to in one call, all as far as the longest of them: only
    consecutive slots that read the same contexts, and no longer than a call of their own would
    take the others."""
    first, longest = 0, lengths[0]
    for row in range(1, len(slots)):
        length, count = lengths[row], row - first
        apart = count * longest + length + _CALL
        other = slots[row] != slots[row - 1] + 1 or besides[row] is not besides[first]
        if other or (count + 1) * max(longest, length) > apart:
            yield first, row, longest
            first, longest = row, length
        else:
            longest = max(longest, length)
    yield first, len(slots), longest


class SlotModel:
    """Runs forward passes of a causal language model over a `SlotCache`.

    Takes the model over: its attention implementation is replaced until `release`. Raises
    Unsupported for a model with layers that keep anything but full attention's keys and values.
    """

    def __init__(
        self, model: PreTrainedModel, *, context: int, max_batch: int, cache_bytes: int
    ) -> None:
        self.model = model.eval()
        self.device = model.device
        self.dtype = model.dtype
        self.cache = SlotCache(cache_bytes, 2 * max_batch, context)
        config = model.config.get_text_config()
        self._layers = config.num_hidden_layers
        self._columns = torch.arange(0, device=self.device)
        self._stock = model.config._attn_implementation
        if not model._supports_attention_backend:
            raise Unsupported(
                f"{type(model).__name__} does not let transformers replace its attention, as the "
                "hf backend must; use the sglang backend"
            )
        model.set_attn_implementation(hf_attention.NAME)
        self.exact = (
            self.device.type == "cpu"
            and self.dtype == torch.float32
            # The kernel spreads one row of one head over threads in another way.
            and config.num_attention_heads > 1
            and getattr(config, "attn_logit_softcapping", None) is None
        )
        self.fused = True
        self.most = max_batch + 192 if self.device.type == "cpu" else max_batch + 2048
        """Most rows of a pass."""
        with torch.inference_mode():
            self._try()

    def forward(self, rows: Rows, keep: int) -> torch.Tensor:
        """Run the model on the rows; logits [keep, vocabulary] of the last ones, in fp32.

        The slots must be wide enough.
        """
        slots, positions, tokens = (
            parts[0] if len(parts) == 1 else np.concatenate(parts)
            for parts in (rows.slots, rows.positions, rows.tokens)
        )
        wanted = max(keep, _LEAST)
        padding = max(0, wanted - len(slots))
        longest = max(run.length for run in rows.runs)
        if len(self._columns) < longest:
            self._columns = torch.arange(self.cache.width, device=self.device)
        at = torch.from_numpy(_pad(positions, padding)).to(self.device)
        marks, places = tokens, at
        if rows.besides:
            marks, places = tokens.copy(), at.clone()
            for start, stop, beside in rows.besides:
                marks[start:stop] += beside.mark
                places[padding + start : padding + stop] += beside.offset
        beyond = self._columns[:longest] > at[padding:, None]
        mask = torch.zeros(beyond.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(beyond, float("-inf"))
        batch = Batch(
            self.cache, padding, slots, positions, mask, rows.runs, self.exact, self.fused
        )
        logits: torch.Tensor = self.model(
            input_ids=torch.from_numpy(_pad(tokens, padding)).to(self.device)[None],
            position_ids=places[None],
            # Four dimensions: taken as it is by models that prepare masks.
            attention_mask=mask[:, None, None],
            use_cache=False,
            logits_to_keep=wanted,
            reason_batch=batch,
        ).logits[0]
        if batch.layers != self._layers:
            raise Unsupported(
                f"{type(self.model).__name__} has {self._layers} layers, of which only "
                f"{batch.layers} are attention; the hf backend keeps nothing but keys and values: "
                "use the sglang backend"
            )
        self.cache.computed(slots, positions, marks)
        return logits[len(logits) - keep :].float()

    def release(self) -> None:
        """Give the model its own attention back and drop the cache."""
        self.model.set_attn_implementation(self._stock)
        self.cache.keys.clear()
        self.cache.values.clear()

    def _try(self) -> None:
        """Find out whether the model runs at all, and with which kernels and how many rows
        bits stay the same."""
        self._probe(_LEAST, _LEAST)
        if not self.exact:
            return
        most = self.most
        # On some CPUs the fused kernel rounds otherwise on the second thread: its scratch memory
        # is aligned otherwise there.
        for fused in (True, False):
            self.fused = fused
            reference = self._probe(_LEAST * 4, _LEAST)
            if all(self._same(reference, size) for size in (_LEAST + 8, _LEAST + 24, 104)):
                # Kernels also change at some larger size: fewer rows then.
                for rows in range(most, self.cache.limit // 2 + 63, -64):
                    self.most = rows
                    if self._same(reference, self.most):
                        return
        self.exact, self.fused, self.most = False, True, most

    def _same(self, reference: torch.Tensor, size: int) -> bool:
        """Whether passes of `size` rows give the bits of the reference."""
        return torch.equal(reference[:size], self._probe(size, size)[: len(reference)])

    def _probe(self, length: int, step: int) -> torch.Tensor:
        """Logits of an arbitrary sequence, computed `step` rows at a time."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        ids = [(7 * i + i * i // 3) % vocabulary for i in range(length)]
        self.cache.widen(length)
        parts = []
        for start in range(0, length, step):
            rows = Rows()
            rows.stretch(0, start, ids[start : start + step])
            parts.append(self.forward(rows, rows.count))
        self.cache.forget()
        return torch.cat(parts)


def _pad(column: npt.NDArray[np.int64], front: int) -> npt.NDArray[np.int64]:
    return np.concatenate((np.zeros(front, np.int64), column)) if front else column


def context_of(model: PreTrainedModel) -> int:
    """Tokens that fit in a sequence; raises Unsupported for layers that are not attention.

    Up to the window of a sliding attention, full attention is the same thing.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - _FULL:
        raise Unsupported(
            f"{type(model).__name__} has layers of kind {', '.join(sorted(kinds - _FULL))}; "
            "the hf backend keeps only keys and values of attention: use the sglang backend"
        )
    context = getattr(config, "max_position_embeddings", None) or 2048
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or (
        not kinds and getattr(config, "use_sliding_window", True)
    )
    return min(context, window) if window and slides else int(context)
