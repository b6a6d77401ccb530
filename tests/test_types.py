from typing import Any

import pytest

from reason.types import SamplingParams, Segment, Thread

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"temperature": -0.1}, "temperature must be >= 0 and finite, got -0.1"),
    ({"temperature": float("nan")}, "temperature must be >= 0 and finite, got nan"),
    ({"temperature": float("inf")}, "temperature must be >= 0 and finite, got inf"),
    ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0"),
    ({"top_p": 1.01}, "top_p must be in (0, 1], got 1.01"),
    ({"top_k": -1}, "top_k must be >= 0 (0 keeps every token), got -1"),
    ({"min_p": 1.5}, "min_p must be in [0, 1], got 1.5"),
    ({"max_tokens": -1}, "max_tokens must be >= 0, got -1"),
    ({"stop": "</a>"}, "stop must be a tuple of strings, not a string, got '</a>'"),
    ({"stop": ("a", "")}, "stop must be without empty strings, got ('a', '')"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_a_value_out_of_range_says_what_is_in_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        SamplingParams(**values)
    assert str(raised.value) == message


def test_the_ends_of_the_ranges_are_in_range() -> None:
    params = SamplingParams(temperature=0, top_p=1, top_k=0, min_p=0, max_tokens=0)
    assert (params.temperature, params.max_tokens, params.stop) == (0, 0, ())
    assert SamplingParams(min_p=1.0).min_p == 1.0


def test_but_changes_one_thing_and_checks_it() -> None:
    params = SamplingParams(temperature=0.5, stop=("a",), seed=3)
    assert params.but(stop=("b",)) == SamplingParams(temperature=0.5, stop=("b",), seed=3)
    assert params.stop == ("a",)
    with pytest.raises(ValueError, match="max_tokens"):
        params.but(max_tokens=-1)


def test_a_deep_chain_of_forks_is_no_deep_recursion() -> None:
    thread = Thread("0", "m", segments=[Segment("prompt", "p", [0])], length=1)
    for i in range(1, 5000):
        segments = [Segment("sampled", "x", [i])]
        thread = Thread(
            "0.0", "m", thread, thread.length, segments=segments, length=thread.length + 1
        )
    assert thread.ids == list(range(5000))
