"""Events as the server sends them, read in the portions in which they arrive."""

import json
from typing import Any

import msgspec
import pytest

from reason.backends.sglang_wire import Logprobs, read

Seen = list[tuple[list[int], Logprobs | None, str | None]]


def event(*ids: int, finish: str | None = None, **fields: Any) -> bytes:
    meta = {
        "finish_reason": finish and {"type": finish, "message": "why"},
        "output_token_logprobs": [[-i / 8, i, None] for i in ids],
    }
    return json.dumps({"output_ids": ids, "meta_info": meta, **fields}).encode()


def seen(data: list[bytes], incremental: bool = True) -> Seen:
    return [
        (e.output_ids, e.meta_info.output_token_logprobs, e.failure and e.failure.message)
        for e in read(data, incremental)
    ]


def test_what_came_at_once_is_one_event() -> None:
    assert seen([event(1)]) == [([1], [(-0.125, 1, None)], None)]
    several = [event(1), event(2, 4), event(8, finish="length")]
    (one,) = read(several, True)
    assert one.output_ids == [1, 2, 4, 8]
    assert one.meta_info.output_token_logprobs == [(-i / 8, i, None) for i in (1, 2, 4, 8)]
    assert one.meta_info.finish_reason and one.meta_info.finish_reason.type == "length"


def test_a_failure_does_not_take_the_tokens_before_it_along() -> None:
    failures = [event(finish="abort"), b'{"error": {"message": "why"}}']
    for failure in failures:
        before, after = seen([event(1), event(2), failure])
        assert (before[0], before[2]) == ([1, 2], None)
        assert (after[0], after[2]) == ([], "why")
        assert [said for _, _, said in seen([failure])] == ["why"]


def test_of_events_that_repeat_the_answer_the_last_counts() -> None:
    assert seen([event(1), event(1, 2)], incremental=False) == seen([event(1, 2)])


def test_no_event_is_an_error() -> None:
    with pytest.raises(msgspec.MsgspecError):
        read([event(1), b'{"output_ids": "x"}'], True)
