"""What happens in a run, as five kinds of frozen values.

The engine emits them in order; tree, ledger, terminal, recorder, server and training rows are all
folds over the same stream. One event is one JSON object whose "event" key names its kind; fields
at their defaults are left out.
"""

from typing import Any

import msgspec

from reason.types import Finish, Layout, Origin


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    thread: str
    at: float = 0.0
    """Seconds since the run began."""


class Opened(_Event, frozen=True, kw_only=True, tag="opened"):
    """A thread began: the root (no parent), a fork (kept > 0) or a spawned one."""

    model: str
    parent: str | None = None
    kept: int = 0
    continues: bool = False
    """A fork that goes on in the place of its parent: the same line of reasoning."""
    layout: Layout | None = None
    """Of contexts in its prompt that are read side by side."""


class Tokens(_Event, frozen=True, kw_only=True, tag="tokens"):
    """Tokens were added to a thread's segment number `segment`, a new one if it does not exist."""

    segment: int
    origin: Origin
    text: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish: Finish | None = None
    stopped_at: str | None = None
    version: int | None = None
    prompt_tokens: int = 0
    """Length of the context that was sent; on the first event of a request."""
    cached_tokens: int = 0
    """How many of these a prefix cache answered; on the last one, if the model ended it."""
    since: float | None = None
    """When the first of these tokens came, if they came over some time."""


class Joined(_Event, frozen=True, kw_only=True, tag="joined"):
    """The thread has waited for these children."""

    children: tuple[str, ...]


class Closed(_Event, frozen=True, kw_only=True, tag="closed"):
    """The thread ended; `detail` says why when it failed."""

    finish: Finish
    detail: str = ""


class Noted(_Event, frozen=True, kw_only=True, tag="noted"):
    """A decision on record: a vote, a score, a rejection. `value` is any JSON value."""

    name: str
    value: Any = None


Event = Opened | Tokens | Joined | Closed | Noted

to_json = msgspec.json.Encoder().encode
"""One event as a line of JSON bytes, without the line break."""
from_json = msgspec.json.Decoder(Event).decode
"""The event of such a line. Raises msgspec.DecodeError for anything else."""
