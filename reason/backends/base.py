"""The one thing to implement for a new model: token ids in, token ids out."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, Protocol, runtime_checkable

from reason.errors import BackendError
from reason.types import Contexts, Finish, Layout, Prompt, SamplingParams


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost the model beside the tokens it sampled."""

    prompt_tokens: int
    """Length of the context that was sent."""
    cached_tokens: int = 0
    """How many of these came from a prefix cache instead of being computed."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next tokens of a request. The last one, which may be empty, has `finish` and `usage`.

    Raises BackendError for a log-probability that is not finite, which no recording could hold.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    """One per id, under the model's own distribution: temperature 1, nothing truncated."""
    finish: Finish | None = None
    stopped_at: str | None = None
    usage: Usage | None = None
    version: int | None = None

    def __post_init__(self) -> None:
        for value in self.logprobs:
            if not isfinite(value):
                raise BackendError(
                    f"the model gave a token the log-probability {value}, not a finite number"
                )


@dataclass(frozen=True, slots=True)
class Info:
    """What a backend says of itself."""

    model: str
    tokenizer: str
    context: int
    """Tokens that fit in one sequence, prompt and answer together."""
    vocabulary: int
    reproducible: Literal["always", "greedy", "never"]
    """When the same ids, parameters and seed give the same tokens, whatever runs beside them."""
    grammar: str = ""
    """Name of the thread grammar the model was trained on; empty for a general chat model."""
    token_ids: bool = True
    """Whether ids are the model's own tokens, with their logprobs. If not, they stand for pieces of
    text, and a thread is a chat and one answer: it cannot be added to, gone on with or trained on.
    """
    scores: bool = True
    """Whether `score` works."""
    tokens: str = ""
    """The same where ids stand for the same tokens; if it is not known, `tokenizer` is compared."""
    ends: tuple[int, ...] = ()
    """Ids that end a sequence, as far as they are known."""
    fingerprint: str = ""
    """Which weights of that name, and in what type, as they were loaded; empty if it is unknown."""

    def check(self, ids: Sequence[int]) -> None:
        """Raise BackendError for ids that are not the model's, or none at all."""
        if not ids:
            raise BackendError("no ids to continue; expected at least one")
        low, high = min(ids), max(ids)
        if low < 0 or high >= self.vocabulary:
            wrong = low if low < 0 else high
            raise BackendError(
                f"token id {wrong} is not in the vocabulary of {self.model} "
                f"(0 to {self.vocabulary - 1}); were the ids made by another tokenizer?"
            )


class Backend(Protocol):
    """A model. Chat templates are applied in `encode` and nowhere else.

    Implementations raise BackendError (or Unsupported) and nothing else on purpose. `generate` is
    an async generator: closing it early (`aclose`, or cancelling the task that drives it) frees
    what the request held.
    """

    @property
    def info(self) -> Info: ...

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; for a chat, through the model's template."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text for reading and parsing, special tokens included."""
        ...

    def generate(self, ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Chunk, None]:
        """Sample a continuation of `ids` (n > 0 tokens).

        The end-of-sequence token, the stop string (whole tokens up to and including the one that
        completes it) and the stop token are part of what is returned. A context that would grow
        beyond `info.context` ends with finish "length".
        """
        ...

    async def score(self, ids: Sequence[int], start: int) -> list[float]:
        """Log-probabilities of `ids[start:]`, each given all before it; 0 < start <= len(ids)."""
        ...

    async def close(self) -> None:
        """Release the model. Requests still running are cancelled."""
        ...


@runtime_checkable
class ParallelEncoder(Protocol):
    """A `Backend` that can read contexts side by side (APE).

    A sequence with a layout is prefix + context 1 + ... + context m + the rest. A context is
    encoded at the positions behind the prefix and sees only that and itself; the first token of the
    rest has the position behind the longest context. Each token of the rest attends to two groups:
    all contexts with logits divided by T, and the prefix and the rest plainly. The groups are
    weighed by the softmax of (S * T * log-sum-exp of the contexts, log-sum-exp of the others), in
    fp32.
    """

    def encode_contexts(self, prompt: Contexts) -> tuple[list[int], Layout]:
        """Token ids of such a prompt, and where its contexts stand in them."""
        ...

    def generate_parallel(
        self, ids: Sequence[int], layout: Layout, params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        """Like `Backend.generate`. Contexts not encoded yet are encoded first; usage counts those
        that were as cached. What must fit in `info.context` is the positions."""
        ...

    async def score_parallel(self, ids: Sequence[int], layout: Layout, start: int) -> list[float]:
        """Like `Backend.score`; layout.end < start."""
        ...


@runtime_checkable
class Rater(Protocol):
    """A model that rates text, as a `Backend` of which that is all that can be asked."""

    @property
    def info(self) -> Info: ...

    async def rate(self, ids: Sequence[int]) -> float:
        """How good a text is, in its own token ids; higher is better."""
        ...

    def conversation(self, prompt: Prompt, answer: str) -> list[int]:
        """Its own token ids of a prompt and the answer to it."""
        ...
