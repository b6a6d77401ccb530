"""Where rollouts are sampled, and how the weights get there."""

import copy
from typing import Any, Protocol, Self

import torch

from reason.backends.base import Backend
from reason.backends.hf import HFBackend


class Sampler(Protocol):
    """A model that rollouts are sampled from, given new weights between steps."""

    @property
    def backend(self) -> Backend: ...

    async def send(self, model: Any, version: int) -> None:
        """Let it sample from the weights of this model of transformers from now on.

        Nothing may be running. Raises BackendError if it cannot take them.
        """
        ...


class Embedded:
    """A copy of the model in this process."""

    def __init__(self, backend: HFBackend, network: Any) -> None:
        self._backend, self._network = backend, network

    @classmethod
    def of(cls, model: Any, tokenizer: Any, **options: Any) -> Self:
        """A copy of that model; `options` are those of HFBackend."""
        network = copy.deepcopy(model).eval().requires_grad_(False)
        network.set_attn_implementation("sdpa")
        return cls(HFBackend(network, tokenizer, **options), network)

    @property
    def backend(self) -> Backend:
        return self._backend

    @torch.no_grad()
    async def send(self, model: Any, version: int) -> None:
        """Copy every weight in place, and forget what was computed with the old ones."""
        new = dict(model.named_parameters())
        for name, weight in self._network.named_parameters():
            weight.copy_(new[name])
        self._backend.forget()
