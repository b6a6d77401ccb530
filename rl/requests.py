"""What a run asked of a model, as training rows need it: the requests that its tree holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reason.errors import Unsupported
from reason.tree import ThreadTree


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model: what it read, and what it wrote.

    The unit of all methods: a parent, its children and its continuation, threads and the block
    they are joined in, drafts and what refines them are requests and nothing else.
    """

    context: Sequence[int]
    sampled: Sequence[int]
    logprobs: Sequence[float] = ()
    """Of the sampled tokens, by the sampler's own weights at temperature 1; empty if not known."""
    thread: str = "0"
    """Where it belongs: several requests may go on in one thread."""
    version: int | None = None
    """Of the weights that sampled it, where the engine tells."""
    truncated: bool = False
    """Whether it was cut off by its length or the budget."""

    def __post_init__(self) -> None:
        if not self.context:
            raise ValueError(
                f"a request of thread {self.thread} has no context: its first token follows none, "
                "so that nothing predicts it; begin prompts with a token such as <bos>"
            )
        if self.logprobs and len(self.logprobs) != len(self.sampled):
            raise ValueError(
                f"a request of thread {self.thread} has {len(self.logprobs)} log-probabilities "
                f"for {len(self.sampled)} sampled tokens"
            )


def requests_of(tree: ThreadTree, model: str = "policy") -> Iterator[Request]:
    """Every request of that role with a sampled token, in the order in which threads were opened.

    Each sampled token of the tree is in exactly one request's `sampled`: what a thread inherits, is
    given or copies from others is context. Raises Unsupported for contexts that were read side by
    side, which no row of one sequence after another is.
    """
    for thread in tree:
        if thread.model != model or not any(s.origin == "sampled" for s in thread.segments):
            continue
        if thread.layout:
            raise Unsupported(
                "a thread that read contexts side by side (ape) cannot be trained on; have them "
                "read one after another: parallel=false"
            )
        ids, end = thread.ids, thread.kept
        for segment in thread.segments:
            start, end = end, end + len(segment.ids)
            if segment.origin == "sampled" and segment.ids:
                yield Request(
                    ids[:start],
                    segment.ids,
                    segment.logprobs,
                    thread.id,
                    segment.version,
                    segment.finish in ("length", "budget"),
                )


def line_of(tree: ThreadTree, thread: str) -> Iterator[str]:
    """That thread and those in whose place it goes on, newest first."""
    at = tree[thread]
    yield at.id
    while at.continues and at.parent is not None:
        at = at.parent
        yield at.id
