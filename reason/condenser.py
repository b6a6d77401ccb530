"""The events of a run in short: one for every run of tokens instead of one for every few."""

from msgspec.structs import replace

from reason.events import Event, Joined, Opened, Tokens


class Condenser:
    """A sink that keeps what happened, for storing many runs.

    What it keeps adds up to the same tree and the same account. Tokens that came one after the
    other into the same segment are one event, at the time of the last of them, `since` that of the
    first; how they came in between is lost.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._parts: dict[str, list[Tokens]] = {}
        """By thread: tokens of one segment that are not in `events` yet."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Tokens):
            begun = self._parts.setdefault(event.thread, [])
            if begun and begun[0].segment != event.segment:
                self._settle(event.thread)
                begun = self._parts.setdefault(event.thread, [])
            begun.append(event)
            return
        # Whatever reads a thread's clock or length must find it as it was.
        self._settle(event.thread)
        if isinstance(event, Opened) and event.parent is not None:
            self._settle(event.parent)
        if isinstance(event, Joined):
            for child in event.children:
                self._settle(child)
        self._events.append(event)

    @property
    def events(self) -> list[Event]:
        """All so far, in the order of their times."""
        for thread in list(self._parts):
            self._settle(thread)
        self._events.sort(key=lambda event: event.at)  # stable: what depends on what stays so
        return self._events

    def _settle(self, thread: str) -> None:
        parts = self._parts.pop(thread, [])
        if len(parts) < 2:
            self._events += parts
            return
        last = parts[-1]
        first = next((part for part in parts if part.ids), last)
        self._events.append(
            replace(
                last,
                text="".join(part.text for part in parts),
                ids=tuple(i for part in parts for i in part.ids),
                logprobs=tuple(p for part in parts for p in part.logprobs),
                prompt_tokens=sum(part.prompt_tokens for part in parts),
                cached_tokens=sum(part.cached_tokens for part in parts),
                since=first.at if first.since is None else first.since,
            )
        )
