"""Deep think with confidence: windows against brute force, and the method driven whole."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import exp, inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.confidence import Ballot, Confidence, Window, percentile, tally
from eval.countdown import Problem
from eval.tasks import countdown_item
from reason.backends.base import Chunk
from reason.backends.connect import connect
from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError
from reason.run import Trajectory, solve
from reason.types import Result, SamplingParams
from tests.runs import run

LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=60)


class Sure(ScriptedBackend):
    """Says a text after the other, and doubts of it the tokens `~`."""

    def __init__(self, texts: Sequence[str], chunk: int = 4) -> None:
        left = iter(texts)

        def script(context: str, params: SamplingParams) -> str:
            text = next(left)
            if text == "dead":
                raise BackendError("connection refused")
            return text

        super().__init__(script, chunk=chunk)

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        async with aclosing(super().generate(ids, params)) as chunks:
            async for chunk in chunks:
                sure = tuple(-2.0 if char == "~" else -0.1 for char in chunk.text)
                yield replace(chunk, logprobs=sure)


@given(LOGPROBS, st.integers(1, 70), st.data())
def test_the_least_confident_window_is_that_of_all(
    logprobs: list[float], size: int, data: st.DataObject
) -> None:
    window, read = Window(size), 0
    while read < len(logprobs):  # in chunks, however they come
        read = data.draw(st.integers(read + 1, len(logprobs)))
        window.read(logprobs[:read])
        seen = logprobs[:read]
        means = [float(np.mean(seen[at : at + size])) for at in range(max(read - size, 0) + 1)]
        assert window.lowest == pytest.approx(min(means), abs=1e-9)
        assert window.full == (read >= size)


def test_a_window_reads_every_token_once() -> None:
    class Counting(list[float]):
        seen = 0

        def __getitem__(self, at: Any) -> Any:
            self.seen += 1
            return super().__getitem__(at)

    logprobs, window = Counting(), Window(64)
    for _ in range(5000):
        logprobs.append(-1.0)
        window.read(logprobs)
    assert logprobs.seen <= 2 * 5000
    assert window.lowest == -1


@given(LOGPROBS, st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)), abs=1e-9)


def test_votes_weigh_by_confidence() -> None:
    ballots = {1: Ballot("7", -0.5), 2: Ballot("8", -0.1), 4: Ballot("7.0", -2.0)}
    seven, eight = exp(-0.5) + exp(-2.0), exp(-0.1)
    assert tally(ballots) == (2, pytest.approx(eight / (seven + eight)))
    assert tally({0: Ballot("7", -1.0), 3: Ballot("8", -1.0)}) == (0, 0.5)
    assert tally({0: Ballot("7", -9e9)}) == (0, 1.0)
    assert tally({}) == (0, 0.0)


METHOD = Confidence(n=4, warmup=2, percentile=0, window=8, consensus=1)
SURE, UNSURE = "." * 30, "~" * 30


def test_a_chain_is_cut_when_its_window_falls_below_the_threshold() -> None:
    texts = [f"{SURE}~\\boxed{{1}}", f"{SURE}\\boxed{{2}}", f"{SURE}{UNSURE}{SURE}", "\\boxed{2}"]
    done = run(METHOD, Sure(texts))
    # The warm-up's worst window has one doubt in eight; the third chain's second doubt ends it.
    worst = (-0.1 * 7 - 2) / 8
    notes = {(note.thread, note.name): note.value for note in done.tree.notes}
    assert notes["0", "threshold"] == pytest.approx(worst)
    assert notes["0.2", "cut"]["below"] == pytest.approx(worst)
    assert notes["0.2", "cut"]["confidence"] < worst
    cut = done.tree["0.2"]
    assert (cut.finish, cut.segments[-1].finish, cut.segments[-1].stopped_at) == (
        "cancelled",
        "stop",
        None,
    )
    assert cut.text == texts[2][:32]  # the end of the chunk in which it was seen
    assert done.result == Result("2", "0.1")
    votes = {"1": exp(worst), "2": 2 * exp(-0.1)}
    assert notes["0", "vote"] == {
        "answer": "2",
        "share": pytest.approx(votes["2"] / sum(votes.values())),
        "voters": 3,
    }
    assert done.tree.critical_path == len(texts[0]) + 32


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_one_that_falls_with_its_last_tokens_is_not_cut_but_does_not_vote(chunk: int) -> None:
    texts = ["\\boxed{1}....", "\\boxed{2}....", "\\boxed{2}...~~~~", "\\boxed{1}.."]
    done = run(METHOD, Sure(texts, chunk))
    assert done.result == Result("1", "0.0")
    assert done.tree.notes[-1].value["voters"] == 3


def test_confident_chains_outvote_a_majority() -> None:
    texts = ["\\boxed{1}" + "~" * 20, "\\boxed{1}" + "~" * 20, "\\boxed{2}" + "." * 20]
    done = run(Confidence(n=3, warmup=3, percentile=0, window=8, consensus=1), Sure(texts))
    assert done.result == Result("2", "0.2")
    assert done.tree.notes[-1].value["share"] == pytest.approx(
        exp(-0.1) / (exp(-0.1) + 2 * exp(-2))
    )


def test_it_stops_at_a_consensus() -> None:
    long = "." * 4000
    done = run(replace(METHOD, n=9), Sure(["\\boxed{1}"] * 2 + [long] * 7))
    assert (done.result, len(done.tree)) == (Result("1", "0.0"), 3)
    assert done.tree.critical_path == len("\\boxed{1}")

    texts = ["\\boxed{2}", "\\boxed{1}", long, "\\boxed{1}", long]
    done = run(replace(METHOD, n=5, consensus=0.6), Sure(texts))
    assert done.result == Result("1", "0.1")
    assert [t.finish for t in done.tree][3:] == ["cancelled", "eos", "cancelled"]
    assert done.tree.critical_path == 2 * len("\\boxed{1}")
    assert done.tree.joins[-1].children == ("0.3",)


def test_chains_that_fail_or_do_not_answer() -> None:
    done = run(METHOD, Sure(["dead"] * 4))
    assert (done.result, done.error) == (Result(None, "0.0"), None)
    assert [note.name for note in done.tree.notes] == ["vote"]
    done = run(METHOD, Sure(["dead", "nothing", "\\boxed{3}", ""]))
    assert done.result == Result("3", "0.2")
    # The only answer is below the threshold: better than none.
    method = replace(METHOD, percentile=100, n=2)
    done = run(method, Sure(["\\boxed{5}" + "~" * 9, "." * 20]))
    assert done.result == Result("5", "0.0")


@pytest.mark.parametrize(("n", "warmup"), [(1, 1), (2, 1), (5, 2), (16, 8), (40, 8)])
def test_a_number_of_chains_is_enough_to_say(n: int, warmup: int) -> None:
    """Those of the warm-up have all begun before the first of the others has."""
    done = run(Confidence(n=n, consensus=1), Sure([f"\\boxed{{{i}}}" for i in range(n)]))
    assert done.result is not None and len(done.tree) == n + 1
    joined = [len(join.children) for join in done.tree.joins]
    assert joined == ([warmup, n - warmup] if n > 1 else [1])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n": 0}, "n must be 1 or more, got 0"),
        ({"window": 0}, "window must be 1 or more, got 0"),
        ({"n": 3, "warmup": 4}, "warmup must be n=3 or less, got 4"),
        ({"percentile": 101}, r"percentile must be in \[0, 100\], got 101"),
        ({"consensus": 0}, r"consensus must be in \(0, 1\], got 0"),
        ({"consensus": inf}, r"consensus must be in \(0, 1\], got inf"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Confidence(**knobs)


def test_on_the_shipped_model() -> None:
    item = countdown_item(Problem((3, 5, 7), 15), "countdown")
    sampling = SamplingParams(temperature=3.0, max_tokens=150)
    method = Confidence(
        n=8, warmup=3, percentile=80, window=8, consensus=1, syntax="countdown", sampling=sampling
    )

    async def main() -> Trajectory:
        model = connect("")
        done = await solve(method, item.prompt, {"policy": model}, seed=3)
        await model.close()
        return done

    done = asyncio.run(main())
    assert done.error is None and done.result is not None
    (threshold,) = (note.value for note in done.tree.notes if note.name == "threshold")
    cuts = {note.thread: note.value for note in done.tree.notes if note.name == "cut"}
    assert cuts
    for name, cut in cuts.items():
        (segment,) = done.tree[name].segments
        window = Window(8)
        window.read(segment.logprobs)
        assert cut == {"confidence": window.lowest, "below": threshold}
        assert window.lowest < threshold and segment.finish == "stop"
