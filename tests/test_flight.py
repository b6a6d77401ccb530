"""Runs of an evaluation begin while there is room for their tokens, each in its turn."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.single import Single
from eval.flight import FIRST, Flight, Seat
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.events import Tokens
from reason.types import SamplingParams
from tests.evaluation import evaluate_oracle, problems


def write(seat: Seat, tokens: int) -> None:
    seat(Tokens(thread="0", segment=0, origin="sampled", ids=(1,) * tokens))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_finished_runs_had_is_expected_of_new_ones() -> None:
    flight, begun, ends = Flight(1000), list[int](), dict[int, asyncio.Event]()

    async def work(number: int, tokens: int) -> None:
        async with flight.seat() as seat:
            begun.append(number)
            ends[number] = asyncio.Event()
            write(seat, tokens)
            await ends[number].wait()

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(work(number, 200))
        await settle()
        assert begun == list(range(FIRST)), "a quarter of the room each, as nothing is known"
        ends[0].set()
        await settle()
        assert begun == [0, 1, 2, 3, 4, 5], "five of 200 tokens fill 1,000"
        assert flight.tokens == 1000
        for number in range(1, 12):
            ends[number].set()
            await settle()
            assert flight.tokens <= 1000
    assert begun == list(range(12)) and flight.tokens == 0


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.integers(1, 2000), st.data())
@settings(max_examples=50)
def test_all_begin_in_order_and_one_always_may(
    sizes: list[int], limit: int, data: st.DataObject
) -> None:
    async def main() -> None:
        flight, begun, running, cancelled = Flight(limit), list[int](), 0, set[int]()

        async def work(number: int, size: int) -> None:
            nonlocal running
            async with flight.seat() as seat:
                begun.append(number)
                running += 1
                write(seat, size)
                assert running == 1 or running <= FIRST + limit
                await asyncio.sleep(0)
                running -= 1

        tasks = [asyncio.create_task(work(*each)) for each in enumerate(sizes)]
        await asyncio.sleep(0)
        for number in data.draw(st.sets(st.integers(0, len(sizes) - 1), max_size=3)):
            if tasks[number].cancel():
                cancelled.add(number)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert begun == sorted(begun)
        assert set(begun) | cancelled == set(range(len(sizes)))
        assert flight.tokens == 0

    asyncio.run(main())


@pytest.mark.parametrize("limit, fits", [(1, {1}), (None, {8}), (35_000, {4})])
async def test_an_evaluation_keeps_to_it(tmp_path: Path, limit: int | None, fits: set[int]) -> None:
    """Chains of about 10,000 tokens, eight at a time where nothing else is said."""
    model = ScriptedBackend(lambda context, params: "x" * 10_000, chunk=1000, delay=0.001)
    peak = 0

    async def look() -> None:
        nonlocal peak
        while True:
            peak = max(peak, model.running)
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    metrics = await evaluate_oracle(
        tmp_path,
        backend=model,
        items=problems(16),
        repeats=1,
        controller=Single(sampling=SamplingParams(max_tokens=20_000)),
        tokens_in_flight=limit,
    )
    looking.cancel()
    assert metrics.samples == 16 and peak in fits


async def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tokens_in_flight must be 1 or more, got 0"):
        await evaluate_oracle(tmp_path, tokens_in_flight=0)
