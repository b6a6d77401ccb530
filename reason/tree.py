"""The thread tree. Only events change it, so a replayed log gives back the same tree."""

from collections.abc import Iterable, Iterator
from typing import Self

from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.types import Segment, Thread


class ThreadTree:
    """The threads of one run by id, in the order in which they were opened."""

    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}
        self.notes: list[Noted] = []
        self.joins: list[Joined] = []

    @classmethod
    def replay(cls, events: Iterable[Event]) -> Self:
        """The tree that these events add up to."""
        tree = cls()
        for event in events:
            tree.apply(event)
        return tree

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        if isinstance(event, Tokens):
            self._add(event)
        elif isinstance(event, Opened):
            parent = self._threads[event.parent] if event.parent is not None else None
            if parent:
                parent.children += 1
            inherited = parent.layout if parent and event.kept else None
            self._threads[event.thread] = Thread(
                event.thread,
                event.model,
                parent,
                event.kept,
                event.continues,
                parent.depth + (not event.continues) if parent else 0,
                clock=parent.clock if parent else 0,
                length=event.kept,
                layout=event.layout or inherited,
            )
        elif isinstance(event, Joined):
            thread = self._threads[event.thread]
            thread.clock = max(thread.clock, *(self._threads[c].clock for c in event.children), 0)
            self.joins.append(event)
        elif isinstance(event, Closed):
            self._threads[event.thread].finish = event.finish
        else:
            self.notes.append(event)

    def _add(self, event: Tokens) -> None:
        thread = self._threads[event.thread]
        segments = thread.segments
        if event.segment == len(segments):
            segments.append(Segment(event.origin))
        segment = segments[event.segment]
        # Held by a local name only, so that CPython extends the string in place of copying it.
        text, segment.text = segment.text, ""
        text += event.text
        segment.text = text
        segment.ids += event.ids
        segment.logprobs += event.logprobs
        thread.length += len(event.ids)
        if event.origin == "sampled":
            thread.clock += len(event.ids)
            if event.finish:
                segment.finish = event.finish
                segment.stopped_at = event.stopped_at
                segment.version = event.version

    def __getitem__(self, thread_id: str) -> Thread:
        return self._threads[thread_id]

    def __contains__(self, thread_id: str) -> bool:
        return thread_id in self._threads

    def __iter__(self) -> Iterator[Thread]:
        return iter(self._threads.values())

    def __len__(self) -> int:
        return len(self._threads)

    def below(self, thread: Thread) -> Iterator[Thread]:
        """The thread and all that was opened under it, parents before their children."""
        waiting = [thread]
        while waiting:
            top = waiting.pop()
            yield top
            waiting += [self._threads[f"{top.id}.{i}"] for i in reversed(range(top.children))]

    def trunk(self, thread: Thread) -> bool:
        """Whether it is the root, or goes on in its place."""
        while thread.parent and thread.continues:
            thread = thread.parent
        return thread.parent is None

    @property
    def root(self) -> Thread:
        return self._threads["0"]

    @property
    def critical_path(self) -> int:
        """Sampled tokens on the longest dependency chain that the root waited for; while the root
        is open, to the thread that is the furthest."""
        if not self._threads or self.root.finish:
            return self.root.clock if self._threads else 0
        return max(thread.clock for thread in self)

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest single context, prompts and injected text included."""
        return max((t.length for t in self), default=0)
