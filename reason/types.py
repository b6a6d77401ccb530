"""The values every package passes along. No I/O, and no imports from the project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal, Self, TypedDict

Origin = Literal["prompt", "sampled", "injected"]
Finish = Literal["eos", "stop", "length", "budget", "cancelled", "error"]
"""Why a segment or thread ended: end-of-sequence token, stop string or stop token, `max_tokens`
or the context window, a limit of the run's budget, a cancellation, a failure."""


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Contexts:
    """A prompt with texts of which a query is asked: prefix, contexts, query, each with tokens of
    its own.

    In `parallel` each is encoded on its own, and then they are read side by side: adaptive parallel
    encoding (APE; Yang et al., ICLR 2025, section 4). Every token of the query and of what follows
    sees all of them; they see the prefix and themselves only. Otherwise they are one sequence.
    Raises ValueError for no context, and for numbers out of range.
    """

    contexts: tuple[str, ...]
    query: str | Sequence[Message]
    """Text that follows the contexts, or a chat at the beginning of whose last question they stand.
    """
    prefix: str = ""
    """What stands before every context; of a chat, behind what the template begins with."""
    parallel: bool = False
    temperature: float = 0.9
    """T: logits of attention to contexts are divided by it; in (0, 2]."""
    scale: float = 0.9
    """S: S*T is the factor of the contexts' log-sum-exp where they are weighed against the rest;
    in [0, 10]. T = S = 1 is plain attention."""

    def __post_init__(self) -> None:
        if isinstance(self.contexts, str) or not self.contexts:
            raise ValueError(f"contexts must be one text or more, got {self.contexts!r}")
        check_attention(self.temperature, self.scale)

    @property
    def spoken(self) -> str | list[Message]:
        """The same, its contexts one after another in the text."""
        before = self.prefix + "".join(self.contexts)
        if isinstance(self.query, str):
            return before + self.query
        at = self.asked
        last = Message(role="user", content=before + self.query[at]["content"])
        return [*self.query[:at], last, *self.query[at + 1 :]]

    @property
    def asked(self) -> int:
        """Which message of the query asks: the user's last. Raises ValueError if there is none."""
        found = [n for n, each in enumerate(self.query) if each["role"] == "user"]  # type: ignore[index]
        if not found:
            raise ValueError("the chat behind the contexts has no message of the user")
        return found[-1]


Prompt = str | Sequence[Message] | Contexts
"""Raw text to continue, a chat to answer (or to continue, if the assistant spoke last), or either
behind contexts."""


def spoken(prompt: Prompt) -> str | Sequence[Message]:
    """A prompt as text or chat, contexts and all."""
    return prompt.spoken if isinstance(prompt, Contexts) else prompt


@dataclass(frozen=True, slots=True)
class Layout:
    """Where contexts that are read side by side stand in a sequence: after the first `prefix`
    tokens, one after another; then comes what reads them.

    Raises ValueError for a context without tokens, and for numbers out of range.
    """

    prefix: int
    contexts: tuple[int, ...]
    """Tokens of each, 1 or more."""
    temperature: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.prefix < 0 or not self.contexts or min(self.contexts) < 1:
            raise ValueError(
                "expected a prefix of 0 tokens or more and contexts of 1 or more, got "
                f"{self.prefix} and {list(self.contexts)}"
            )
        check_attention(self.temperature, self.scale)

    @property
    def end(self) -> int:
        """Tokens of prefix and contexts together."""
        return self.prefix + sum(self.contexts)

    @property
    def shift(self) -> int:
        """By how much the position of a token behind the contexts is less than its index: all
        contexts begin at the same one, and what follows does so behind the longest."""
        return sum(self.contexts) - max(self.contexts)


def check_attention(temperature: float, scale: float) -> None:
    """Raise ValueError for a T or S out of range."""
    if not 0 < temperature <= 2:
        raise ValueError(f"the attention temperature T must be in (0, 2], got {temperature:g}")
    if not 0 <= scale <= 10:
        raise ValueError(f"the scaling factor S must be in [0, 10], got {scale:g}")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint on what may be sampled, for backends that can enforce one."""

    kind: Literal["regex", "json", "ebnf"]
    """What `text` is; json is a schema."""
    text: str
    """The constraint itself."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample one segment. Raises ValueError for a value out of range."""

    temperature: float = 1.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Only the likeliest tokens that have this share together are drawn."""
    top_k: int = 0
    """0 keeps every token."""
    min_p: float = 0.0
    """Only tokens at least this share as likely as the likeliest are drawn."""
    max_tokens: int = 4096
    """Most tokens of one segment."""
    stop: tuple[str, ...] = ()
    """Stop strings; the one that ended a segment is part of its text."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end a segment."""
    seed: int | None = None
    """Of this method's sampling, beside that of the run; every segment's own is drawn from both."""
    grammar: Grammar | None = None
    """What is allowed, on backends that can enforce it."""
    priority: int = 0
    """Higher goes first, on backends that schedule by priority; a parent that goes on is one
    higher than its children."""

    def __post_init__(self) -> None:
        def check(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

        check(0 <= self.temperature < inf, "temperature", ">= 0 and finite")
        check(0 < self.top_p <= 1, "top_p", "in (0, 1]")
        check(self.top_k >= 0, "top_k", ">= 0 (0 keeps every token)")
        check(0 <= self.min_p <= 1, "min_p", "in [0, 1]")
        check(self.max_tokens >= 0, "max_tokens", ">= 0")
        check(not isinstance(self.stop, str), "stop", "a tuple of strings, not a string")
        check(all(self.stop), "stop", "without empty strings")

    def but(self, **changes: Any) -> Self:
        """The same parameters with some changed."""
        return replace(self, **changes)


@dataclass(slots=True)
class Segment:
    """A run of tokens with one origin; only "sampled" ones are ever trained on."""

    origin: Origin
    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """One per sampled token, under the model's own distribution (temperature 1); else empty."""
    finish: Finish | None = None
    stopped_at: str | None = None
    """The stop string that ended it."""
    version: int | None = None
    """The model's weight version that sampled it, where the backend tells."""


@dataclass(slots=True, eq=False)
class Thread:
    """One line of reasoning: the part of its parent's context it can see, and what it added."""

    id: str
    """Its place in the tree: "0" is the root, "0.2.1" the second child of the root's third."""
    model: str
    parent: "Thread | None" = None
    kept: int = 0
    """How many tokens of the parent's context it sees: 0 for a spawned thread."""
    continues: bool = False
    """Goes on in its parent's place: with it, one line of reasoning."""
    depth: int = 0
    """Levels below the root; one that goes on in its parent's place is on its parent's."""
    segments: list[Segment] = field(default_factory=list)
    finish: Finish | None = None
    clock: int = 0
    """Sampled tokens on the longest chain of waiting that ends here."""
    length: int = 0
    """Tokens of its context, the inherited ones included."""
    children: int = 0
    """How many threads were opened under it."""
    layout: Layout | None = None
    """Of contexts in it that are read side by side."""

    @property
    def ids(self) -> list[int]:
        """The whole context as token ids, inherited part first."""
        parts: list[list[int]] = []
        thread, end = self, self.length
        while True:
            own = [i for segment in thread.segments for i in segment.ids]
            parts.append(own[: max(end - thread.kept, 0)])
            end = min(end, thread.kept)
            if not end or thread.parent is None:
                return [i for part in reversed(parts) for i in part]
            thread = thread.parent

    @property
    def text(self) -> str:
        """What this thread added itself, prompt excluded."""
        return "".join(s.text for s in self.segments if s.origin != "prompt")


@dataclass(frozen=True, slots=True)
class Result:
    """What a controller returns: the answer to grade and the thread that holds it."""

    answer: str | None
    thread: str
    extra: Mapping[str, Any] = field(default_factory=dict)
