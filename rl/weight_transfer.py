"""The trainer's weights to the servers that rollouts are sampled from, between two steps.

TRL 1.16, trl/experimental/async_grpo: pause, send, resume. Runs that are under way wait while their
server is paused and go on with the new weights; each request tells which it began with.
"""

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from safetensors.torch import save_file

from reason.backends.base import Backend
from reason.backends.pool import Pool
from reason.backends.sglang import SGLangBackend
from reason.backends.sglang_weights import WeightsUpdateGroup
from reason.errors import UsageError

T = TypeVar("T")
Named = Iterator[tuple[str, torch.Tensor]]


class Way(Protocol):
    """How weights get to servers that are paused."""

    async def open(self, servers: Sequence[SGLangBackend]) -> None: ...

    async def send(self, weights: Named, version: int) -> None: ...

    async def close(self) -> None: ...


class Broadcast:
    """By torch.distributed: NCCL on GPUs, gloo on CPUs."""

    def __init__(self) -> None:
        self._group: WeightsUpdateGroup | None = None

    async def open(self, servers: Sequence[SGLangBackend]) -> None:
        self._group = await WeightsUpdateGroup.join([server.url for server in servers])

    async def send(self, weights: Named, version: int) -> None:
        assert self._group
        await self._group.update(weights, version)

    async def close(self) -> None:
        if self._group:
            await self._group.close()


class ByDisk:
    """By a folder that trainer and servers share."""

    def __init__(self, model: str, folder: Path | None = None) -> None:
        """`model` is the checkpoint that is served: its configuration goes along."""
        self._model = Path(model)
        self._folder = folder or Path(tempfile.mkdtemp(prefix="reason-weights-"))
        self._servers: Sequence[SGLangBackend] = ()

    async def open(self, servers: Sequence[SGLangBackend]) -> None:
        self._servers = servers

    async def send(self, weights: Named, version: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "config.json"
        config.write_bytes((self._model / "config.json").read_bytes())
        partial = self._folder / "partial.safetensors"
        save_file({name: w.detach().cpu().contiguous() for name, w in weights}, partial)
        partial.replace(self._folder / "model.safetensors")
        await asyncio.gather(
            *(server.update_weights(str(self._folder), version) for server in self._servers)
        )

    async def close(self) -> None:
        """The folder stays: it holds the last weights."""


def way_of(name: Literal["broadcast", "disk"], model: str, folder: Path) -> Way:
    """`Broadcast`, or `ByDisk` by a folder below `folder`, of a checkpoint like `model`."""
    return Broadcast() if name == "broadcast" else ByDisk(model, folder / "weights")


def servers_of(backend: Backend) -> list[SGLangBackend]:
    """The servers that it consists of. Raises UsageError if they cannot be given new weights."""
    workers = backend.workers if isinstance(backend, Pool) else (backend,)
    found = [worker for worker in workers if isinstance(worker, SGLangBackend)]
    if len(found) < len(workers):
        raise UsageError(
            f"{backend.info.model} cannot be given new weights: sample from sglang://HOST:PORT"
        )
    return found


class WeightTransfer:
    """What TRL's AsyncGRPOTrainer calls, in the trainer's thread."""

    def __init__(self, urls: Sequence[str], way: Way) -> None:
        self._urls, self._way = urls, way
        self._runner = asyncio.Runner()
        self._servers: list[SGLangBackend] = []
        self._version = 0

    def init_weight_transfer(self) -> None:
        """Meet the servers. Raises BackendError."""
        self._servers = [SGLangBackend(url) for url in self._urls]
        self._do(self._way.open(self._servers))

    def pause(self) -> None:
        """Runs wait from here on."""
        self._do(_all(server.pause() for server in self._servers))

    def send_weights(self, iterator: Named) -> None:
        """All weights, under a checkpoint's names."""
        self._version += 1
        self._do(self._way.send(iterator, self._version))

    def resume(self) -> None:
        """Runs go on."""
        self._do(_all(server.resume() for server in self._servers))

    def destroy(self) -> None:
        """Part from the servers."""
        self._do(self._way.close())
        self._do(_all(server.close() for server in self._servers))
        self._runner.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


async def _all(works: Any) -> None:
    await asyncio.gather(*works)
