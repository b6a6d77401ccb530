"""Where a streamed answer ends, however its events come together."""

from itertools import pairwise

import pytest

from reason.backends.openai_stream import Stream
from reason.backends.openai_wire import LLAMA_CPP, Choice, Event, Logprobs, Timings, Token
from reason.errors import BackendError
from reason.types import SamplingParams


def told(*ids: int, sampled: int, finish: str | None = None) -> Event:
    """An event of llama.cpp's: some ids, and how many tokens it has sampled so far."""
    content = [Token(id=id, logprob=-0.5) for id in ids]
    return Event(
        [Choice(logprobs=Logprobs(content=content), finish_reason=finish)],
        timings=Timings(predicted_n=sampled),
    )


EVENTS = [
    *(told(65 + n, sampled=n + 1) for n in range(8)),
    told(sampled=8, finish="length"),
]


def stream(*stops: int) -> Stream:
    params = SamplingParams(max_tokens=8, stop_token_ids=stops)
    decode = lambda ids: "".join(map(chr, ids))  # noqa: E731
    return Stream("http://x", LLAMA_CPP, params, decode, 1)


def answer(one: Stream, cuts: list[int]) -> tuple[str, tuple[int, ...], str | None]:
    text, ids = "", tuple[int, ...]()
    for start, end in pairwise([0, *cuts, len(EVENTS)]):
        chunk = one.push(EVENTS[start:end])
        if chunk:
            text, ids = text + chunk.text, (*ids, *chunk.ids)
        if one.over:
            break
    last = one.last()
    return text + last.text, ids, last.finish


@pytest.mark.parametrize("cuts", [[], [1], [3], [4], [2, 5], [8], list(range(1, 9))])
def test_what_comes_behind_a_stop_is_left_out_in_whatever_pieces(cuts: list[int]) -> None:
    assert answer(stream(67), cuts) == ("ABC", (65, 66, 67), "stop")
    assert answer(stream(), cuts) == ("ABCDEFGH", tuple(range(65, 73)), "length")


def test_a_stop_inside_an_event() -> None:
    one = stream(66)
    chunk = one.push([told(65, 66, 67, sampled=3), told(sampled=3, finish="length")])
    assert chunk and chunk.ids == (65, 66) and one.last().finish == "stop"


def test_ids_that_are_not_told_are_missed() -> None:
    with pytest.raises(BackendError, match="told the ids of 1 tokens of 2 that it sampled"):
        stream().push([told(65, sampled=2)])
