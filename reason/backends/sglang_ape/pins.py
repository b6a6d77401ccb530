"""Contexts that a query is about to read: the last to go when the server needs room.

A pin orders evictions and never forbids one: memory that is needed is found, and nothing is left
locked by a client that went away. It ends when its query is taken, or once as much as the whole
cache has been evicted since. No clock is asked, so that the ranks of a tensor-parallel server, each
with a cache of its own, agree.
"""

from collections.abc import Callable
from typing import Any

MOST = 4096
"""Pins at once; beyond, the oldest end."""


class Pins:
    """Keys of paths in a prefix cache, each with the count of evicted tokens at which it ends."""

    def __init__(self, patience: int) -> None:
        """`patience` is how many tokens may be evicted while a pin holds."""
        self._patience = patience
        self._evicted = 0
        self._pins: dict[tuple[Any, ...], tuple[Any, int]] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def add(self, key: Any) -> None:
        """Pin a path, or pin it anew; `key` is SGLang's RadixKey, without a limit."""
        name = _name(key)
        self._pins.pop(name, None)
        self._pins[name] = key, self._evicted + self._patience
        if len(self._pins) > MOST:
            del self._pins[next(iter(self._pins))]

    def remove(self, key: Any) -> None:
        self._pins.pop(_name(key), None)

    def touch(self, touch: Callable[[Any], None]) -> None:
        """Before an eviction, make every pin recently used, the oldest most: whoever began first
        ends first, and others do not take its contexts in turn."""
        for key, _ in reversed(self._pins.values()):
            touch(key)

    def evicted(self, tokens: int) -> None:
        """After an eviction, end what has outlived it."""
        self._evicted += tokens
        while self._pins and next(iter(self._pins.values()))[1] <= self._evicted:
            del self._pins[next(iter(self._pins))]

    def clear(self) -> None:
        self._pins.clear()


def _name(key: Any) -> tuple[Any, ...]:
    return key.extra_key, key.cache_salt, key.raw_token_ids().tobytes()
