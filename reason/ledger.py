"""What a run may spend and what it has spent."""

from dataclasses import dataclass, field
from math import inf

from reason.events import Closed, Event, Opened, Tokens
from reason.types import Thread


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run; the defaults never bind.

    Limits on tokens are exact for a single thread. Threads that sample at the same time may
    overshoot `total_tokens` by at most one chunk each, since nothing is reserved in advance.
    """

    total_tokens: float = inf
    """Sampled tokens of all threads."""
    critical_path: float = inf
    """Sampled tokens on any chain of threads that waited for each other."""
    context: float = inf
    """Tokens of any single sequence, prompt included."""
    threads: float = inf
    """Lines of reasoning: a thread that goes on in its parent's place is none of its own. Methods
    that vote or choose make do with fewer chains."""
    depth: float = inf
    """Levels below the root."""
    seconds: float = inf
    """Then requests end, and a method may still make a result of what it holds: a vote of the
    chains that ended."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(slots=True)
class Ledger:
    """The running account of a run, folded from its events."""

    budget: Budget = field(default_factory=Budget)
    total_tokens: int = 0
    prompt_tokens: int = 0
    """Context sent to models, over all requests but those refused without a token."""
    cached_tokens: int = 0
    """How many of these a prefix cache answered, as far as models told: not where they were cut
    off."""
    threads: int = 0
    """Lines of reasoning, as the budget counts them."""
    peak_threads: int = 0
    """Most threads alive, opened and not closed, at the same moment."""
    ttft: float | None = None
    """Seconds to the first sampled token."""
    seconds: float = 0.0
    _alive: int = 0
    _continuing: set[str] = field(default_factory=set)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        self.seconds = event.at
        if isinstance(event, Tokens):
            if event.origin == "sampled":
                self.total_tokens += len(event.ids)
                if event.ids:
                    first = event.at if event.since is None else event.since
                    self.ttft = first if self.ttft is None else min(self.ttft, first)
                self.prompt_tokens += event.prompt_tokens
                self.cached_tokens += event.cached_tokens
        elif isinstance(event, Opened) and event.continues:
            self._continuing.add(event.thread)  # as long as the thread it continues is open
        elif isinstance(event, Opened):
            self.threads += 1
            self._alive += 1
            self.peak_threads = max(self.peak_threads, self._alive)
        elif isinstance(event, Closed) and event.thread not in self._continuing:
            self._alive -= 1

    def room(self, thread: Thread) -> tuple[float, str]:
        """How many more tokens this thread may sample, none if under 1, and which limit says so."""
        budget = self.budget
        left, limit = budget.total_tokens - self.total_tokens, "total_tokens"
        if budget.critical_path - thread.clock < left:
            left, limit = budget.critical_path - thread.clock, "critical_path"
        if budget.context - thread.length < left:
            left, limit = budget.context - thread.length, "context"
        return left, limit

    def full(self, depth: int) -> str | None:
        """The limit that forbids one more thread at this depth, if one does."""
        if self.threads >= self.budget.threads:
            return "threads"
        return "depth" if depth > self.budget.depth else None
