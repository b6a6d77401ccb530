"""The answer to one streamed completion: its tokens in order, cut where they ought to end."""

from collections.abc import Sequence

from reason.backends.base import Chunk, Usage
from reason.backends.detokenize import Decode, Detokenizer, StopStrings
from reason.backends.openai_wire import Choice, Counts, Dialect, Event, finite
from reason.errors import BackendError
from reason.types import Finish, SamplingParams


class Stream:
    """Events in, chunks out; the last chunk waits for the usage, which servers tell after it.

    Where an answer ends is decided here, from its ids: servers differ in whether they hold back
    what completes a stop string, and some know no stop tokens.
    """

    def __init__(
        self, url: str, dialect: Dialect, params: SamplingParams, decode: Decode, sent: int
    ) -> None:
        self._url, self._dialect, self._params, self._sent = url, dialect, params, sent
        self._text = Detokenizer(decode)
        self._strings = StopStrings(params.stop, decode) if params.stop else None
        self._count = 0
        self._finish: Finish | None = None
        self._stopped_at: str | None = None
        self._usage: Counts | None = None
        self.over = False
        """Whether nothing more is to be read: the server would go on behind the end."""

    def push(self, events: Sequence[Event]) -> Chunk | None:
        """What they add, as one chunk. Raises BackendError."""
        ids: list[int] = []
        logprobs: list[float] = []
        for event in events:
            if event.failure is not None:
                raise BackendError(f"{self._url} gave up a request: {event.failure}")
            for choice in event.choices[:1]:
                new, values = self._told(choice)
                if self._finish is not None:  # what stands behind the end counts for nothing
                    self.over = self.over or bool(new)
                    continue
                kept = self._kept(new)
                ids += new[:kept]
                logprobs += values[:kept]
                self._count += kept
                self.over = kept < len(new)
                if not self.over:
                    self._check(event)
                if choice.finish_reason and self._finish is None:
                    self._ended(choice, (*ids,))
            self._usage = event.usage or self._usage
        if not ids:
            return None
        return Chunk(self._text.push(ids), tuple(ids), tuple(logprobs))

    def last(self) -> Chunk:
        """The end of the answer. Raises BackendError if it has none."""
        if self._finish is None:
            raise BackendError(f"{self._url} ended an answer without a reason")
        usage = self._usage
        if usage and not self.over and usage.completion_tokens > self._count:
            raise self._gap(usage.completion_tokens)
        return Chunk(
            self._text.push((), last=True),
            (),
            finish=self._finish,
            stopped_at=self._stopped_at,
            usage=Usage(self._sent, usage.cached if usage else 0),
        )

    def _told(self, choice: Choice) -> tuple[list[int], tuple[float, ...]]:
        """Ids and logprobs of the new tokens."""
        ids = choice.ids or []
        return ids, finite(choice.values, len(ids), self._url)

    def _kept(self, new: Sequence[int]) -> int:
        """How many of these belong to the answer, which may end among them."""
        for place, id in enumerate(new, 1):
            self._stopped_at = self._strings.push(id) if self._strings else None
            if self._stopped_at is not None or id in self._params.stop_token_ids:
                self._finish = "stop"
                return place
        return len(new)

    def _ended(self, choice: Choice, ids: Sequence[int]) -> None:
        """By the server's word, where no stop was seen here."""
        if choice.finish_reason == "length":
            self._finish = "length"
            return
        said = choice.stop_reason if choice.stop_reason is not None else choice.matched_stop
        self._stopped_at = said if isinstance(said, str) and said in self._params.stop else None
        self._finish = "stop" if self._stopped_at else "eos"

    def _check(self, event: Event) -> None:
        """Raise BackendError if the server has sampled tokens whose ids it does not tell."""
        sampled = event.timings.predicted_n if event.timings else None
        if sampled is not None and sampled > self._count:
            raise self._gap(sampled)

    def _gap(self, sampled: int) -> BackendError:
        return BackendError(
            f"{self._url} ({self._dialect.name}) told the ids of {self._count} tokens of {sampled} "
            "that it sampled. llama.cpp leaves out those that end inside a character: serve this "
            "model with SGLang or vLLM, or keep it to characters of one token"
        )
