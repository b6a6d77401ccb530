"""Where rollouts are sampled, and how the weights get there."""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
from torch.distributed.tensor import DTensor

from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.backends.hf import HFBackend
from reason.errors import BackendError
from rl.weight_transfer import Way, servers_of


class Sampler(Protocol):
    """A model that rollouts are sampled from, given new weights between steps."""

    @property
    def backend(self) -> Backend: ...

    async def send(self, model: Any, version: int) -> None:
        """Let it sample from the weights of this model of transformers from now on.

        Nothing may be running. Every process that trains calls it. Raises BackendError if it cannot
        take them.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds."""
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
        new = dict(whole(model))
        for name, weight in self._network.named_parameters():
            weight.copy_(new[name])
        self._backend.forget()

    async def close(self) -> None:
        await self._backend.close()


def reached(spec: str) -> Backend:
    """The servers that a recipe names by its key `backend`. Raises BackendError if they do not
    answer, UsageError for a name that is none."""
    try:
        return connect(spec)
    except BackendError as error:
        raise BackendError(
            f"backend={spec}: {error}; start that server, or give another backend="
        ) from error


class Served:
    """Servers of SGLang; of several processes that train, the `first` sends."""

    def __init__(self, backend: Backend, way: Way, first: bool = True) -> None:
        """Raises UsageError for a backend that is none of SGLang's."""
        self._servers = servers_of(backend)
        self._backend, self._way, self._first, self._open = backend, way, first, False

    @property
    def backend(self) -> Backend:
        return self._backend

    async def send(self, model: Any, version: int) -> None:
        weights = whole(model)
        if not self._first:
            for _ in weights:  # parts of each lie in every process
                pass
            return
        if not self._open:
            await self._way.open(self._servers)
            self._open = True
        await asyncio.gather(*(server.pause() for server in self._servers))
        try:
            await self._way.send(weights, version)
        finally:
            await asyncio.gather(*(server.resume() for server in self._servers))

    async def close(self) -> None:
        if self._open:
            await self._way.close()
        await self._backend.close()


@torch.no_grad()
def whole(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight under its checkpoint's name, put together where FSDP2 has divided it."""
    for name, weight in model.named_parameters():
        yield name, weight.full_tensor() if isinstance(weight, DTensor) else weight.detach()
