"""Weights from the memory of this process to SGLang servers, broadcast by torch.distributed."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import torch
from torch.distributed import ProcessGroup, broadcast, destroy_process_group
from torch.distributed import distributed_c10d as c10d
from torch.distributed.rendezvous import rendezvous

from reason.backends.checkpoint import Shapes, mismatch, shapes
from reason.backends.http import Server
from reason.backends.key import authorization
from reason.backends.sglang_launch import free_port
from reason.errors import BackendError, UsageError

BUCKET = 1 << 30
"""Bytes that go in one request, at least; a server holds as many beside the model meanwhile."""
Named = Sequence[tuple[str, torch.Tensor]]
T = TypeVar("T")


class WeightsUpdateGroup:
    """A process that trains, as rank 0, and the servers that sample for it.

    While servers generate, an update waits until they are done; what comes meanwhile waits for
    it. Between `SGLangBackend.pause` and `resume` it is done at once.
    """

    def __init__(self, servers: Sequence[Server], group: ProcessGroup, name: str) -> None:
        """Use `join`."""
        self._servers, self._group, self._name = servers, group, name
        self._expected = shapes(servers[0].ask("/model_info")["model_path"])
        self._unusable = ""
        """Why, if it is."""

    @classmethod
    async def join(
        cls,
        urls: Sequence[str],
        *,
        address: str = "",
        port: int = 0,
        key_env: str = "",
        timeout: float = 300.0,
    ) -> Self:
        """Meet the servers at these URLs, for which this process waits at `address`, a free port.

        By default that is the address from which it reaches the first of them. On GPUs the group
        is NCCL's, on CPUs gloo's. `timeout` is for each step, in seconds. Raises BackendError.
        """
        headers = authorization(key_env)
        servers = [Server(url, timeout=timeout, patience=0, headers=headers) for url in urls]
        if not servers:
            raise UsageError("no server to send weights to; expected one URL or more")
        ranks, backends = [1], set()
        for server in servers:
            settings = server.ask("/server_info")
            if settings["dp_size"] > 1 or settings["pp_size"] > 1:
                raise UsageError(
                    f"{server.url} runs with dp={settings['dp_size']}, pp={settings['pp_size']}; "
                    "SGLang takes broadcast weights with 1 and 1: start one server per replica"
                )
            ranks.append(ranks[-1] + settings["tp_size"])
            backends.add("gloo" if settings["device"] == "cpu" else "nccl")
        if len(backends) > 1:
            raise UsageError(f"{', '.join(urls)} run on CPUs and on GPUs; expected one kind")
        backend, size, name = backends.pop(), ranks.pop(), f"reason-{uuid4().hex}"
        address, port = address or _address(urls[0]), port or free_port()
        store = f"tcp://{address}:{port}"
        made = _in_thread(lambda: _process_group(backend, store, size, name, timeout))
        asked = (
            server.post(
                "/init_weights_update_group",
                {
                    "master_address": address,
                    "master_port": port,
                    "rank_offset": rank,
                    "world_size": size,
                    "group_name": name,
                    "backend": backend,
                },
            )
            for server, rank in zip(servers, ranks, strict=True)
        )
        group, *_ = await asyncio.gather(made, *asked)
        return cls(servers, group, name)

    async def update(
        self, weights: Iterable[tuple[str, torch.Tensor]], version: int, bucket: int = BUCKET
    ) -> None:
        """Give the servers these weights, all or some of them, under a checkpoint's names.

        Caches are dropped, and chunks carry `version` from then on. Tensors are on the servers'
        kind of device. What does not fit the checkpoint that is served is not sent, where that
        lies here, too. Raises BackendError; unless that says that nothing was sent, the servers
        may have some weights of each kind.
        """
        named = [(name, weight.detach().contiguous()) for name, weight in weights]
        wrong = self._refusal({name: tuple(weight.shape) for name, weight in named})
        if wrong:
            raise BackendError(f"nothing was sent to {self._servers[0].url}: {wrong}")
        await self._post("/begin_weight_update", {})
        try:
            *rest, last = _buckets(named, bucket)
            for some in rest:
                await self._send(some, flush_cache=False)
            await self._send(last, flush_cache=True, weight_version=str(version))
        except BaseException:
            with suppress(BackendError):
                await self._post("/end_weight_update", {})
            raise
        await self._post("/end_weight_update", {})

    def _refusal(self, given: Shapes) -> str | None:
        if self._unusable or not given:
            return self._unusable or "no weights were given"
        return mismatch(given, self._expected) if self._expected else None

    async def _send(self, named: Named, **fields: bool | str) -> None:
        body = {
            "names": [name for name, _ in named],
            "dtypes": [str(weight.dtype).removeprefix("torch.") for _, weight in named],
            "shapes": [list(weight.shape) for _, weight in named],
            "group_name": self._name,
            **fields,
        }
        broadcast = asyncio.ensure_future(_in_thread(lambda: self._broadcast(named)))
        try:
            await asyncio.gather(broadcast, self._post("/update_weights_from_distributed", body))
        finally:
            # A server that refused before it listened leaves it waiting, which nothing can end.
            await asyncio.wait([broadcast], timeout=1)
            if not broadcast.done() or broadcast.exception():
                self._unusable = "the group broke before; join a new one"

    def _broadcast(self, named: Named) -> None:
        for _, weight in named:
            broadcast(weight, src=0, group=self._group)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    async def _post(self, path: str, body: object) -> None:
        await asyncio.gather(*(server.post(path, body) for server in self._servers))

    async def close(self) -> None:
        """Part from the servers, which keep the weights they have."""
        for server in self._servers:
            await server.tell("/destroy_weights_update_group", {"group_name": self._name})
            await server.close()
        if not self._unusable:
            destroy_process_group(self._group)
            self._unusable = "the group is closed"


def _buckets(named: Named, size: int) -> Iterator[Named]:
    """Some after the other, each of `size` bytes or little more."""
    some: list[tuple[str, torch.Tensor]] = []
    for each in named:
        some.append(each)
        if sum(weight.nbytes for _, weight in some) >= size:
            yield some
            some = []
    if some:
        yield some


def _process_group(backend: str, store: str, size: int, name: str, timeout: float) -> ProcessGroup:
    """One beside the default group, if there is one; made as SGLang makes its side of it."""
    limit = timedelta(seconds=timeout)
    found, rank, size = next(rendezvous(store, 0, size, timeout=limit))
    found.set_timeout(limit)
    group: ProcessGroup
    group, _ = c10d._new_process_group_helper(
        size,
        rank,
        [],
        c10d.Backend(backend),
        c10d.PrefixStore(name, found),
        group_name=c10d.GroupName(name),
        timeout=limit,
    )
    c10d._world.pg_group_ranks[group] = {i: i for i in range(size)}
    return group


async def _in_thread(work: Callable[[], T]) -> T:
    """In a thread that does not keep the process from ending, as those of executors do."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(say: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if done.done() else say(what))

    def run() -> None:
        try:
            tell(done.set_result, work())
        except Exception as error:
            tell(done.set_exception, BackendError(f"torch.distributed: {error}"))

    threading.Thread(target=run, daemon=True).start()
    return await done


def _address(url: str) -> str:
    """Ours, on the way to that URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((urlsplit(url).hostname, 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address
