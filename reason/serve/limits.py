"""What one client may take of a server that others use, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import floor

from reason.ledger import Budget
from reason.serve.fault import Fault


@dataclass(slots=True)
class Limits:
    """Of every request, and of all at once."""

    budget: Budget = field(default_factory=Budget)
    """What one request may spend, all its choices together."""
    requests: int = 256
    """In flight at the same time."""
    body: int = 1 << 20
    """Bytes of a request."""
    in_flight: int = 0

    @contextmanager
    def room(self) -> Iterator[None]:
        """While inside, a request is counted. Raises Fault if there is no room for it."""
        if self.in_flight >= self.requests:
            raise Fault(
                429,
                f"{self.in_flight} requests are in flight, as many as this server takes; try again",
                code="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def allowed(self, asked: Budget, choices: int = 1) -> Budget:
        """The lesser of what is asked for and what one of so many choices may spend."""
        shared = {"total_tokens", "threads"}
        changes = {}
        for each in fields(Budget):
            most = getattr(self.budget, each.name)
            if each.name in shared and choices > 1 and most != float("inf"):
                most = floor(most / choices)
            changes[each.name] = min(getattr(asked, each.name), most)
        return replace(asked, **changes)
