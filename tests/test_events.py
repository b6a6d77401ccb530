import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reason.events import Closed, Event, Joined, Noted, Opened, Tokens, from_json, to_json
from reason.types import Finish, Origin

text = st.text(st.characters(codec="utf-8"), max_size=20)
count = st.integers(0, 2**40)
finite = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, 1e9)
finishes = st.sampled_from(get_args(Finish))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Opened,
        thread=text,
        at=seconds,
        model=text,
        parent=st.none() | text,
        kept=count,
        continues=st.booleans(),
    ),
    st.builds(
        Tokens,
        thread=text,
        at=seconds,
        segment=count,
        origin=st.sampled_from(get_args(Origin)),
        text=text,
        ids=st.lists(count, max_size=9).map(tuple),
        logprobs=st.lists(finite, max_size=9).map(tuple),
        finish=st.none() | finishes,
        stopped_at=st.none() | text,
        version=st.none() | count,
        prompt_tokens=count,
        cached_tokens=count,
    ),
    st.builds(Joined, thread=text, at=seconds, children=st.lists(text, max_size=4).map(tuple)),
    st.builds(Closed, thread=text, at=seconds, finish=finishes, detail=text),
    st.builds(Noted, thread=text, at=seconds, name=text, value=values),
)


@given(events)
def test_an_event_survives_json_as_one_line(event: Event) -> None:
    line = to_json(event)
    assert b"\n" not in line
    assert from_json(line) == event
    assert type(from_json(line)) is type(event)


def test_the_form_on_disk() -> None:
    event = Tokens(thread="0.1", at=0.5, segment=1, origin="sampled", text="a", ids=(7,))
    assert json.loads(to_json(event)) == {
        "event": "tokens",
        "thread": "0.1",
        "at": 0.5,
        "segment": 1,
        "origin": "sampled",
        "text": "a",
        "ids": [7],
    }


DAMAGED: list[Any] = [
    {"event": "tokens", "thread": "0", "segment": 0},
    {"event": "tokens", "thread": "0", "segment": 0, "origin": "dreamt"},
    {"event": "closed", "thread": "0", "finish": "bored"},
    {"event": "born", "thread": "0"},
    {"thread": "0"},
    [],
    None,
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_anything_else_is_refused(damaged: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        from_json(json.dumps(damaged))


def test_events_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Closed(thread="0", finish="eos").finish = "error"  # type: ignore[misc]
