"""A client of SGLang's `/generate` that only collects tokens: what our layer is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import aiohttp
import msgspec

from reason.backends.sglang import INTERVAL
from reason.backends.sglang_wire import sampling
from reason.types import SamplingParams


class Event(msgspec.Struct):
    output_ids: list[int]


decode = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Answer:
    ids: list[int]
    first: float
    """When its first token came, by `perf_counter`."""


class Bare:
    """Sends the body that `SGLangBackend` sends, and reads of the answer nothing but the ids."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        async with self._session.get(f"{self._url}/server_info") as response:
            self.settings: dict[str, Any] = await response.json()
        self._incremental = bool(self.settings["incremental_streaming_output"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def generate(self, ids: Sequence[int], params: SamplingParams) -> Answer:
        body: dict[str, Any] = {
            "input_ids": ids,
            "stream": True,
            "return_logprob": True,
            "sampling_params": sampling(params, params.max_tokens),
            "rid": uuid4().hex,
        }
        if not self._incremental:
            body["sampling_params"]["stream_interval"] = INTERVAL
        found: list[int] = []
        first, rest = 0.0, b""
        async with self._session.post(f"{self._url}/generate", json=body) as response:
            response.raise_for_status()
            async for piece in response.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n\n")
                for event in whole:
                    if event == b"data: [DONE]":
                        break
                    new = decode(event[6:]).output_ids
                    first = first or perf_counter()
                    if not self._incremental:
                        found.clear()
                    found += new
        return Answer(found, first)
