"""Temperature and scale of parallel encoding, found without labels: those with which a model goes
on behind contexts side by side most nearly as it does behind one sequence."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from controllers.ape import ParallelEncoding
from controllers.syntax import syntax_of
from controllers.tuned import Tuned
from reason.backends.base import Backend, ParallelEncoder
from reason.errors import UsageError
from reason.sampling import parallel
from reason.types import Contexts, Layout, Prompt, SamplingParams

GRID = tuple(round(0.1 * n, 1) for n in range(1, 13))
"""Temperatures; the paper searches 0.1 to 1.0 (appendix C), and so do scales here."""
DRAWS = 2000
"""Bootstrap samples of the prompts."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt and what the model wrote behind it in one sequence."""

    ids: list[int]
    layout: Layout
    start: int
    """Where what it wrote begins."""
    sequential: Any
    """Its log-probabilities there: of every token [n, vocabulary] where the model tells them, else
    of those that were written [n]."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one pair does, by prompt: sums over its tokens."""

    divergence: tuple[float, ...]
    agreement: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Nats for a token."""
        return sum(self.divergence) / sum(self.tokens)

    @property
    def same(self) -> float | None:
        """Share of tokens at which the likeliest is the same; None where that is not known."""
        share = sum(self.agreement) / sum(self.tokens)
        return None if math.isnan(share) else share

    def interval(self) -> tuple[float, float]:
        """95 % of the mean over prompts, by a bootstrap of them."""
        sums, counts = np.array(self.divergence), np.array(self.tokens)
        drawn = np.random.default_rng(0).integers(len(sums), size=(DRAWS, len(sums)))
        low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
        return float(low), float(high)


async def probe(
    method: ParallelEncoding, prompt: Prompt, model: Backend, tokens: int, seed: int
) -> Probe:
    """Have the model write up to `tokens` behind the contexts in one sequence. Raises UsageError
    where that does not fit, and there is nothing to hold the other against."""
    asked = syntax_of(method.syntax).serial(method.laid(prompt)[0], 0)
    assert isinstance(asked, Contexts)
    ids, layout = parallel(model).encode_contexts(replace(asked, parallel=True))
    if len(ids) + tokens > model.info.context:
        raise UsageError(
            f"a prompt of {len(ids)} tokens and {tokens} more do not fit into the "
            f"{model.info.context} of {model.info.model}: there is no sequence to compare with; "
            "give fewer or shorter contexts to tune on, or fewer tokens"
        )
    params = SamplingParams(temperature=1.0, max_tokens=tokens, seed=seed)
    written = [i async for chunk in model.generate(ids, params) for i in chunk.ids]
    whole = [*ids, *written]
    return Probe(whole, layout, len(ids), await _read(model, whole, None, len(ids)))


async def fit(probes: Sequence[Probe], pair: tuple[float, float], model: Backend) -> Fit:
    """The divergence KL(sequence || side by side) under one temperature and scale.

    Exact over the vocabulary where the model tells its distributions; else the unbiased estimate
    exp(r) - 1 - r, r being how much likelier a token that was sampled is side by side.
    """

    async def one(each: Probe) -> tuple[float, float, int]:
        layout = replace(each.layout, temperature=pair[0], scale=pair[1])
        found = await _read(model, each.ids, layout, each.start)
        p, q = np.asarray(each.sequential, np.float64), np.asarray(found, np.float64)
        if p.ndim == 2:
            same = (p.argmax(1) == q.argmax(1)).sum()
            return float((np.exp(p) * (p - q)).sum()), float(same), len(p)
        return float((np.exp(q - p) - 1 - (q - p)).sum()), math.nan, len(p)

    done = await asyncio.gather(*map(one, probes))
    return Fit(*(tuple(column) for column in zip(*done, strict=True)))


async def tune(
    method: ParallelEncoding,
    prompts: Sequence[Prompt],
    model: Backend,
    *,
    tokens: int,
    temperatures: Sequence[float],
    scales: Sequence[float],
    seed: int,
    told: Callable[[int, int], object],
) -> Tuned:
    """The best pair of the grid, for prompts in one sequence of which the model writes `tokens`.

    `told` hears how many of how many pairs are done. Raises UsageError for no prompts, and for one
    that does not fit.
    """
    if not prompts:
        raise UsageError("nothing to tune on: no prompt was given")
    probes = [
        await probe(method, prompt, model, tokens, seed + n) for n, prompt in enumerate(prompts)
    ]
    probes = [each for each in probes if len(each.ids) > each.start]
    if not probes:
        raise UsageError("nothing to tune on: the model wrote nothing behind any prompt")
    pairs = list(product(temperatures, scales))
    plain = (1.0, 1.0)
    fits: dict[tuple[float, float], Fit] = {}
    for pair in dict.fromkeys([*pairs, plain]):
        fits[pair] = await fit(probes, pair, model)
        told(len(fits), len(pairs) + (plain not in pairs))
    best = min(pairs, key=lambda pair: fits[pair].mean)
    return Tuned(
        model=model.info.model,
        fingerprint=model.info.fingerprint,
        temperature=best[0],
        scale=best[1],
        divergence=fits[best].mean,
        interval=fits[best].interval(),
        agreement=fits[best].same,
        plain=fits[plain].mean,
        prompts=len(probes),
        tokens=sum(fits[best].tokens),
        grid=[(*pair, fits[pair].mean) for pair in pairs],
    )


async def _read(model: Backend, ids: list[int], layout: Layout | None, start: int) -> Any:
    if hasattr(model, "distributions"):
        return await model.distributions(ids, layout, start)
    if layout is None:
        return await model.score(ids, start)
    assert isinstance(model, ParallelEncoder)
    return await model.score_parallel(ids, layout, start)
