"""From the events of a run to the answers that its models gave."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from reason.backends.replay import Recorded
from reason.events import Event, Tokens
from reason.tree import ThreadTree


def answers(events: Iterable[Event]) -> Iterator[tuple[str, Recorded]]:
    """Every answer of a run in the order of its requests, with the role of the model that gave it.

    A request is taken to have been sent when what stands before it in its thread had happened.
    """
    tree = ThreadTree()
    found: dict[tuple[str, int], tuple[float, Recorded]] = {}
    latest: dict[str, float] = {}
    for event in events:
        if isinstance(event, Tokens) and event.origin == "sampled":
            place = event.thread, event.segment
            if place not in found:
                asking = tree[event.thread]
                asked = Recorded((), context=tuple(asking.ids), layout=asking.layout)
                found[place] = (latest[event.thread], asked)
            sent, before = found[place]
            first = event.at if event.since is None else event.since
            found[place] = (
                sent,
                replace(
                    before,
                    ids=before.ids + event.ids,
                    logprobs=before.logprobs + event.logprobs,
                    finish=event.finish or before.finish,
                    wait=before.wait if before.ids else first - sent,
                    seconds=event.at - sent,
                ),
            )
        tree.apply(event)
        latest[event.thread] = event.at
    for (thread, _), (_, answer) in sorted(found.items(), key=lambda item: item[1][0]):
        yield tree[thread].model, answer
