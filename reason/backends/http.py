"""HTTP to a model server: JSON and event streams, time limits, retries where they are safe."""

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp

from reason.errors import BackendError

BUSY = (429, 503)
"""The server is there, but takes nothing now: trying again later is what it asks for."""
OVERFLOW = re.compile(
    r"context (length|size|window)|context_length|maximum (allowed|model|input) length", re.I
)
"""In the words of OpenAI, vLLM, SGLang and llama.cpp."""
HANDSHAKE = 20.0
"""Seconds to wait for a server to say what it is."""
LONGEST_PAUSE = 8.0


class Busy(Exception):
    """Nothing has been answered, so that the same request may be sent again."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after
        """Seconds to wait, where the server says so."""


class Refused(BackendError):
    """The server answered with a status that says no."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status

    @property
    def overflow(self) -> bool:
        """Whether it says that the context is longer than fits."""
        return self.status in (400, 413, 422) and bool(OVERFLOW.search(str(self)))


class Patience:
    """Growing, randomised pauses between attempts, for so many seconds in all."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._end, self._pause = monotonic() + seconds, 0.25

    async def wait(self, busy: Busy) -> None:
        """Pause before the next attempt. Raises BackendError where that would be too late."""
        # Full jitter, so that many threads do not come back at once.
        wait = busy.after if busy.after is not None else random.uniform(0, self._pause)
        if monotonic() + wait > self._end:
            tried = f", and so for {self._seconds:g} s" if self._seconds else ""
            raise BackendError(f"{self._url}: {busy}{tried}") from None
        await asyncio.sleep(wait)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


async def _none() -> str:
    return ""


class Server:
    """The address of a server, and the connections to it.

    A request is sent again, for `patience` seconds, only where no part of an answer has come: no
    connection, one that was lost, or "busy". After `timeout` seconds without a byte it fails.
    Usable from several event loops, one after another.
    """

    def __init__(
        self, url: str, *, timeout: float, patience: float, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout, self._patience = timeout, patience
        self._headers = dict(headers or {})
        self.last_words: Callable[[], Awaitable[str]] = _none
        """What a server of our own said last, if it has ended."""
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, path: str, body: object = None, *, optional: bool = False) -> Any:
        """A small JSON answer, waited for in place: for the first words with a server.

        An `optional` path that the server does not have gives None. Raises BackendError.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        request = Request(self.url + path, data, headers)
        try:
            with urlopen(request, timeout=HANDSHAKE) as response:
                return json.loads(response.read())
        except HTTPError as error:
            if optional and error.code == 404:
                return None
            raise Refused(self._refusal(path, error.code, error.read()), error.code) from None
        except TimeoutError:
            raise BackendError(f"{self.url} did not answer {path} in {HANDSHAKE:g} s") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise BackendError(f"cannot reach {self.url}: {reason}") from None
        except ValueError:
            raise BackendError(f"{self.url}{path} did not answer with JSON") from None

    async def post(self, path: str, body: object) -> Any:
        """A JSON answer; for requests that may be sent twice. Raises BackendError."""
        patience = self.patience()
        while True:
            try:
                async with self._sent(path, body) as response:
                    return json.loads(await response.read())
            except Busy as busy:
                await patience.wait(busy)
            except ValueError:
                raise BackendError(f"{self.url}{path} did not answer with JSON") from None

    async def tell(self, path: str, body: object) -> None:
        """Send, and do not mind whether it arrives."""
        with suppress(Busy, BackendError):
            async with self._sent(path, body):
                pass

    async def events(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        """The data of server-sent events, of as many at once as have come since the last were read.

        Raises Busy before the first, and BackendError.
        """
        begun, rest = False, b""
        async with self._sent(path, body, lambda: begun) as response:
            async for piece in response.content.iter_any():
                # Some servers end lines as HTTP does.
                *whole, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                begun = begun or bool(whole)
                data = [e[6:] for e in whole if e.startswith(b"data: ") and e != b"data: [DONE]"]
                if data:
                    yield data

    def patience(self) -> Patience:
        return Patience(self.url, self._patience)

    @asynccontextmanager
    async def _sent(
        self, path: str, body: object, begun: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A request that the server took. Raises Busy while `begun` is False, and BackendError."""
        try:
            async with self._open().post(self.url + path, json=body) as response:
                if response.status != 200:
                    reason = self._refusal(path, response.status, await response.read())
                    if response.status not in BUSY:
                        raise Refused(reason, response.status)
                    after = response.headers.get("Retry-After", "")
                    raise Busy(reason, float(after) if after.isdigit() else None)
                yield response
        except aiohttp.ConnectionTimeoutError:
            raise Busy("cannot connect (no answer)") from None
        except TimeoutError:
            raise BackendError(
                f"{self.url}{path} sent nothing for {self._timeout:g} s; is the server stuck?"
            ) from None
        except aiohttp.ClientConnectorError as error:
            await self._still_there()
            raise Busy(f"cannot connect ({error.os_error.strerror or error.os_error})") from None
        except aiohttp.ClientError as error:
            await self._still_there()
            if begun():
                raise BackendError(
                    f"{self.url} broke off in the middle of an answer to {path}"
                ) from None
            raise Busy(f"the connection broke before an answer to {path}: {error}") from None

    async def _still_there(self) -> None:
        """Raise BackendError if nobody will ever answer there."""
        words = await self.last_words()
        if words:
            raise BackendError(f"the server at {self.url} has ended:\n{words}") from None

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop or self._session.closed:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._timeout),
                headers=self._headers,
            )
        return self._session

    def _refusal(self, path: str, status: int, body: bytes) -> str:
        """What the server says is wrong, from the shapes in which servers say it."""
        try:
            said: Any = json.loads(body)
        except ValueError:
            said = body.decode(errors="replace").strip()
        for key in ("error", "message", "detail"):
            said = said.get(key, said) if isinstance(said, dict) else said
        text = str(said)
        for secret in self._headers.values():
            text = text.replace(secret.removeprefix("Bearer "), "***")
        return f"{self.url}{path} answered {status}: {text[:500]}"

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None and self._loop is asyncio.get_running_loop():
            await self._session.close()
        self._session = None
