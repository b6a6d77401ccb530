"""A step of an item that is finished, as the file of steps holds it."""

from typing import Any

import msgspec

STEPS = ("chain", "analysis", "outlines", "rewriting", "filter")
"""In their order; runs of an evaluation only come to the last."""
LAST = STEPS[-1]
"""The step after which an item is an example."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one item."""

    id: str
    step: str
    digest: str
    """Of the item as it was then."""
    value: Any = None
    """What the step gave, for the next one."""
    drop: str | None = None
    """Why the item goes no further; one of few reasons."""
    detail: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
