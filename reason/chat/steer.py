"""Of a run that is only played back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reason.errors import UsageError


class PlayedSteer:
    """Nothing can be changed any more."""

    async def cancel(self, thread: str) -> None:
        raise self._over()

    async def stop(self) -> None:
        raise self._over()

    async def extend(self, limits: Mapping[str, Any]) -> None:
        raise self._over()

    async def branch(self, thread: str, hint: str, kept: int | None = None) -> str:
        raise self._over()

    async def pin(self, thread: str, answer: str | None = None) -> str:
        raise self._over()

    def decode(self, thread: str) -> Callable[[Sequence[int]], str] | None:
        return None

    def _over(self) -> UsageError:
        return UsageError("this run is a recording: it can be looked at, not changed")
