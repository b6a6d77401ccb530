"""What happens in a run, stamped with its time and told to all who listen."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reason.backends.base import Chunk
from reason.errors import BudgetExceeded
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.ledger import Budget, Ledger
from reason.tree import ThreadTree
from reason.types import Finish, Layout, Origin, Thread

Sink = Callable[[Event], object]
"""Gets every event as it happens; must be quick, is never awaited."""


class Journal:
    """Makes the events of one run; the tree and the ledger hear them first."""

    def __init__(self, budget: Budget, sinks: Iterable[Sink]) -> None:
        self.tree = ThreadTree()
        self.ledger = Ledger(budget)
        self._sinks = (self.tree.apply, self.ledger.apply, *sinks)
        self.exceeded: BudgetExceeded | None = None
        self._clock = _clock()
        self._born = self._clock()

    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._born

    def exceed(self, limit: str) -> BudgetExceeded:
        """Put on record that this limit was hit; the error to raise."""
        allowed = getattr(self.ledger.budget, limit)
        error = BudgetExceeded(limit, f"the run reached budget.{limit}={allowed:g}")
        self.exceeded = self.exceeded or error
        return error

    def opened(
        self,
        thread_id: str,
        model: str,
        parent: Thread | None,
        kept: int,
        continues: bool,
        layout: Layout | None = None,
    ) -> Thread:
        self._tell(
            Opened(
                thread=thread_id,
                model=model,
                parent=parent.id if parent else None,
                kept=kept,
                continues=continues,
                layout=layout,
                at=self.now(),
            )
        )
        return self.tree[thread_id]

    def added(self, thread: Thread, origin: Origin, text: str, ids: Sequence[int]) -> None:
        """A segment that the model did not write here."""
        self._tell(
            Tokens(
                thread=thread.id,
                segment=len(thread.segments),
                origin=origin,
                text=text,
                ids=tuple(ids),
                at=self.now(),
            )
        )

    def sampled(
        self, thread: Thread, segment: int, chunk: Chunk, finish: Finish | None, sent: int
    ) -> None:
        """A chunk of a request; with the first one, the length `sent` of the context."""
        self._tell(
            Tokens(
                thread=thread.id,
                segment=segment,
                origin="sampled",
                text=chunk.text,
                ids=chunk.ids,
                logprobs=chunk.logprobs,
                finish=finish,
                stopped_at=chunk.stopped_at,
                version=chunk.version,
                prompt_tokens=sent,
                cached_tokens=chunk.usage.cached_tokens if chunk.usage else 0,
                at=self.now(),
            )
        )

    def ended(
        self, thread: Thread, segment: int, finish: Finish, sent: int = 0, text: str = ""
    ) -> None:
        """The end of a sampled segment, for a reason that the model did not give, and the text
        that its tokens still lack."""
        self._tell(
            Tokens(
                thread=thread.id,
                segment=segment,
                origin="sampled",
                text=text,
                finish=finish,
                prompt_tokens=sent,
                at=self.now(),
            )
        )

    def joined(self, thread: Thread, children: Iterable[Thread]) -> None:
        ids = tuple(child.id for child in children)
        self._tell(Joined(thread=thread.id, children=ids, at=self.now()))

    def noted(self, thread: Thread, name: str, value: Any) -> None:
        self._tell(Noted(thread=thread.id, name=name, value=value, at=self.now()))

    def closed(self, thread: Thread, finish: Finish, detail: str) -> None:
        self._tell(Closed(thread=thread.id, finish=finish, detail=detail, at=self.now()))

    def _tell(self, event: Event) -> None:
        for sink in self._sinks:
            sink(event)


def _clock() -> Callable[[], float]:
    """The event loop's clock, which may be a virtual one; outside a loop the system's."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return time.monotonic
