"""The tree against a second, naive account of the same moves: whole contexts, copied."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from reason.events import Closed, Event, Joined, Noted, Opened, Tokens, from_json, to_json
from reason.tree import ThreadTree
from reason.types import Origin
from tests.runs import snapshot


@dataclass
class Naive:
    """A thread as a plain copy of its context."""

    context: list[int]
    clock: int
    parent: str | None
    own: list[tuple[Origin, str, list[int]]] = field(default_factory=list)
    children: int = 0
    finish: str | None = None


Moves = tuple[list[Event], dict[str, Naive]]


@st.composite
def moves(draw: st.DrawFn) -> Moves:
    """Events of a random run, and what the threads should look like after it."""
    events: list[Event] = [Opened(thread="0", model="m")]
    naive = {"0": Naive([], 0, None)}
    for number in range(draw(st.integers(0, 40))):
        name = draw(st.sampled_from(list(naive)))
        thread = naive[name]
        move = draw(st.sampled_from(["add", "add", "go on", "fork", "spawn", "join", "close"]))
        if move in ("add", "go on"):
            ids = draw(st.lists(st.integers(0, 9), max_size=6))
            new = move == "add" or not thread.own
            segment = len(thread.own) if new else len(thread.own) - 1
            choice: st.SearchStrategy[Origin] = st.sampled_from(["prompt", "sampled", "injected"])
            origin = draw(choice) if new else thread.own[-1][0]
            words = "".join(map(str, ids))
            if new:
                thread.own.append((origin, words, list(ids)))
            else:
                thread.own[-1] = (origin, thread.own[-1][1] + words, thread.own[-1][2] + ids)
            thread.context = thread.context + ids
            thread.clock += len(ids) if origin == "sampled" else 0
            events.append(
                Tokens(thread=name, segment=segment, origin=origin, text=words, ids=tuple(ids))
            )
        elif move in ("fork", "spawn"):
            kept = draw(st.integers(0, len(thread.context))) if move == "fork" else 0
            child = f"{name}.{thread.children}"
            thread.children += 1
            naive[child] = Naive(thread.context[:kept], thread.clock, name)
            events.append(Opened(thread=child, model="m", parent=name, kept=kept))
        elif move == "join":
            children = [f"{name}.{i}" for i in range(thread.children)]
            joined = draw(st.lists(st.sampled_from(children), unique=True)) if children else []
            thread.clock = max([thread.clock, *(naive[c].clock for c in joined)])
            events.append(Joined(thread=name, children=tuple(joined)))
        else:
            thread.finish = "stop"
            events.append(Closed(thread=name, finish="stop"))
        events.append(Noted(thread=name, name="number", value=number))
    return events, naive


@given(moves())
def test_the_tree_says_what_copying_everything_says(run: Moves) -> None:
    events, naive = run
    tree = ThreadTree.replay(events)
    assert [thread.id for thread in tree] == list(naive)
    assert len(tree) == len(naive)
    for name, expected in naive.items():
        thread = tree[name]
        assert thread.ids == expected.context
        assert thread.length == len(expected.context)
        assert thread.clock == expected.clock
        assert (thread.parent.id if thread.parent else None) == expected.parent
        assert thread.children == expected.children
        assert thread.finish == expected.finish
        assert [(s.origin, s.text, s.ids) for s in thread.segments] == expected.own
        assert thread.text == "".join(words for o, words, _ in expected.own if o != "prompt")
        assert {t.id for t in tree.below(thread)} == {
            other for other in naive if f"{other}.".startswith(f"{name}.")
        }
    assert [note.value for note in tree.notes] == list(range(len(tree.notes)))
    assert tree.joins == [event for event in events if isinstance(event, Joined)]
    furthest = max(n.clock for n in naive.values())
    assert tree.critical_path == (naive["0"].clock if naive["0"].finish else furthest)
    assert tree.longest_sequence == max(len(n.context) for n in naive.values())


@given(moves())
def test_a_log_read_back_is_the_same_tree(run: Moves) -> None:
    events, _ = run
    tree = ThreadTree()
    for event in events:
        tree.apply(event)
    assert snapshot(ThreadTree.replay(from_json(to_json(e)) for e in events)) == snapshot(tree)


def test_a_fork_cut_inside_a_segment_of_its_grandparent() -> None:
    tree = ThreadTree.replay(
        [
            Opened(thread="0", model="m"),
            Tokens(thread="0", segment=0, origin="prompt", ids=(1, 2, 3)),
            Tokens(thread="0", segment=1, origin="sampled", ids=(4, 5, 6)),
            Opened(thread="0.0", model="m", parent="0", kept=5),
            Tokens(thread="0.0", segment=0, origin="injected", ids=(7, 8)),
            Opened(thread="0.0.0", model="m", parent="0.0", kept=4),
            Tokens(thread="0.0.0", segment=0, origin="sampled", ids=(9,)),
            Opened(thread="0.0.1", model="m", parent="0.0", kept=6),
        ]
    )
    assert tree["0.0"].ids == [1, 2, 3, 4, 5, 7, 8]
    assert tree["0.0.0"].ids == [1, 2, 3, 4, 9]
    assert tree["0.0.1"].ids == [1, 2, 3, 4, 5, 7]
    assert [t.clock for t in tree] == [3, 3, 4, 3]
    assert [t.length for t in tree] == [6, 7, 5, 6]
    assert [t.id for t in tree.below(tree["0.0"])] == ["0.0", "0.0.0", "0.0.1"]


def test_an_empty_tree() -> None:
    tree = ThreadTree()
    assert (len(tree), tree.critical_path, tree.longest_sequence, "0" in tree) == (0, 0, 0, False)
