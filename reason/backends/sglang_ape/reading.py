"""A request that reads contexts side by side, as the server's cache and model runner know it."""

from typing import Any

from reason.types import Layout


class Reading:
    """Hangs on SGLang's `Req`; what looks it up by the request's id holds it weakly."""

    __slots__ = ("__weakref__", "keys", "layout")

    def __init__(self, layout: Layout, keys: list[Any]) -> None:
        self.layout = layout
        self.keys = keys
        """Of each context, prefix included: a RadixKey."""
