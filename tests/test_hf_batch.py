"""Many requests to one model: they share prefixes, wait, end and fail without disturbing others."""

import asyncio

import pytest
import torch

from reason.backends.hf import HFBackend
from reason.errors import BackendError
from reason.types import SamplingParams
from tests import tiny
from tests.driving import GREEDY, Whole, collect, gather, prompt, reference, run


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_schedule_does_not_change_a_token(
    kind: str, threads: int, request: pytest.FixtureRequest
) -> None:
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(threads)
    model = tiny.model(kind, hidden_size=256, intermediate_size=768, head_dim=64)
    asks = [
        (prompt(n % 9, 3 + 5 * (n % 9)), SamplingParams(max_tokens=8 + n, seed=n))
        for n in range(24)
    ]
    together: list[Whole] = []
    for max_batch, picked in (
        (64, list(range(24))),
        (64, list(range(23, -1, -1))),
        (7, list(range(24))),
        (1, list(range(0, 24, 4))),
    ):
        backend = HFBackend(model, tiny.words(), max_batch=max_batch)
        assert backend.info.reproducible == "always"
        wholes = gather(backend, [asks[n] for n in picked])
        run(backend.close())
        together = together or wholes
        assert [w.ids for w in wholes] == [together[n].ids for n in picked]
        # To the last bit, or the tokens would differ sooner or later.
        assert [w.logprobs for w in wholes] == [together[n].logprobs for n in picked]


def test_bfloat16_works_and_claims_nothing() -> None:
    backend = HFBackend(tiny.model("llama").to(torch.bfloat16), tiny.words())
    assert backend.info.reproducible == "never"
    wholes = gather(backend, [(prompt(n, 30), GREEDY) for n in range(5)])
    assert all(len(w.ids) == 40 for w in wholes)
    run(backend.close())


def test_a_prefix_is_computed_once_and_changes_no_token() -> None:
    backend = HFBackend(tiny.model("qwen3"), tiny.words())
    root = prompt(1, 50)
    params = SamplingParams(max_tokens=30)
    first = run(collect(backend, root, params.but(seed=1)))
    assert first.last.usage.cached_tokens == 0
    # Going on from where it ended: all but its last token, never computed, is there.
    longer = root + first.ids
    going = run(collect(backend, longer, params.but(seed=2)))
    assert going.last.usage.cached_tokens == len(longer) - 1
    # A fork in the middle, and many at once.
    asks = [([*longer[:60], n], params.but(seed=n)) for n in range(20)]
    forks = gather(backend, asks)
    assert [w.last.usage.cached_tokens for w in forks] == [60] * 20
    fresh = HFBackend(tiny.model("qwen3"), tiny.words())
    assert run(collect(fresh, longer, params.but(seed=2))).ids == going.ids
    assert run(collect(fresh, *asks[7])).ids == forks[7].ids
    run(backend.close())
    run(fresh.close())


def test_new_weights_are_used_once_the_old_cache_is_forgotten() -> None:
    model = tiny.model("llama")
    backend = HFBackend(model, tiny.words())
    run(collect(backend, prompt(1, 50), GREEDY))
    model.load_state_dict(tiny.model("llama", seed=1).state_dict())
    backend.forget()
    whole = run(collect(backend, prompt(1, 50), GREEDY))
    assert whole.last.usage.cached_tokens == 0
    assert whole.ids == reference(tiny.model("llama", seed=1), prompt(1, 50), 40)
    run(backend.close())


@pytest.mark.parametrize("ended", [True, False])
def test_what_ran_while_the_weights_changed_is_not_shared(ended: bool) -> None:
    model = tiny.model("llama")
    backend = HFBackend(model, tiny.words())

    async def main() -> Whole:
        stream = backend.generate(prompt(1, 50), GREEDY.but(max_tokens=400))
        await anext(stream)
        model.load_state_dict(tiny.model("llama", seed=1).state_dict())
        backend.forget()
        if ended:
            async for _ in stream:
                pass
        whole = await collect(backend, prompt(1, 50), GREEDY)
        await stream.aclose()
        return whole

    whole = run(main())
    assert whole.last.usage.cached_tokens == 0
    assert whole.ids == reference(tiny.model("llama", seed=1), prompt(1, 50), 40)
    # What was computed with the new weights is shared as ever.
    assert run(collect(backend, prompt(1, 50), GREEDY)).last.usage.cached_tokens == 49
    run(backend.close())


def test_of_many_with_one_prompt_only_the_first_computes_it() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), max_batch=16)
    asks = [(prompt(2, 60), SamplingParams(max_tokens=5, seed=n)) for n in range(40)]
    cached = [w.last.usage.cached_tokens for w in gather(backend, asks)]
    assert sorted(cached) == [0] + [59] * 39
    run(backend.close())


def test_a_running_context_is_shared_too() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words())

    async def main() -> int:
        stream = backend.generate(prompt(4, 50), SamplingParams(max_tokens=400, seed=1))
        first = await anext(stream)
        whole = await collect(backend, prompt(4, 50) + list(first.ids), GREEDY)
        await stream.aclose()
        return whole.last.usage.cached_tokens

    assert asyncio.run(main()) >= 50
    run(backend.close())


def test_memory_for_finished_sequences_is_bounded() -> None:
    per_token = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, dim, bytes
    backend = HFBackend(
        tiny.model("llama"), tiny.words(), max_batch=4, cache_gib=6 * 256 * per_token / 2**30
    )
    asks = [(prompt(n, 40), GREEDY.but(max_tokens=10)) for n in range(30)]
    alone = [run(collect(backend, *ask)) for ask in asks]
    long = run(collect(backend, prompt(99, 400), GREEDY))
    assert [w.ids for w in gather(backend, asks)] == [w.ids for w in alone]
    fresh = HFBackend(tiny.model("llama"), tiny.words())
    assert run(collect(fresh, prompt(99, 400), GREEDY)).ids == long.ids
    cache = backend._model.cache
    held = sum(t.numel() * t.element_size() for t in (*cache.keys, *cache.values))
    assert held <= 6 * 256 * per_token
    run(backend.close())
    run(fresh.close())


def test_a_long_prompt_waits_for_room_instead_of_exceeding_it() -> None:
    per_token = 2 * 2 * 2 * 16 * 4
    budget = 8 * 256 * per_token
    model = tiny.model("llama", max_position_embeddings=2048)
    expected = reference(model, prompt(1, 1500), 5)
    backend = HFBackend(model, tiny.words(), cache_gib=budget / 2**30)

    async def main() -> list[Whole]:
        short = [
            asyncio.create_task(collect(backend, prompt(n, 9), GREEDY.but(max_tokens=200)))
            for n in range(2, 8)
        ]
        while len(backend._model.cache.live) < 6:
            await asyncio.sleep(0.001)
        long = collect(backend, prompt(1, 1500), GREEDY.but(max_tokens=5))
        late = collect(backend, prompt(9, 9), GREEDY)
        return await asyncio.gather(long, late, *short)

    wholes = run(main())
    assert wholes[0].ids == expected
    assert [len(w.ids) for w in wholes[1:]] == [40] + [200] * 6
    cache = backend._model.cache
    assert sum(t.numel() * t.element_size() for t in (*cache.keys, *cache.values)) <= budget
    run(backend.close())


def test_after_a_long_sequence_short_ones_run_side_by_side_again() -> None:
    per_token = 2 * 2 * 2 * 16 * 4
    model = tiny.model("llama", max_position_embeddings=2048)
    backend = HFBackend(model, tiny.words(), cache_gib=2048 * per_token / 2**30)
    run(collect(backend, prompt(1, 1500), GREEDY))

    async def main() -> list[int]:
        first = backend.generate(prompt(2, 9), GREEDY.but(max_tokens=240))
        ids = [*(await anext(first)).ids]
        await collect(backend, prompt(3, 9), GREEDY.but(max_tokens=2))
        assert backend.running == 1, "the second had to wait for the first"
        return ids + [i async for chunk in first for i in chunk.ids]

    expected = reference(tiny.model("llama", max_position_embeddings=2048), prompt(2, 9), 240)
    assert run(main()) == expected
    run(backend.close())


def test_more_requests_than_fit_wait_their_turn_by_priority() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), max_batch=2)
    ended: list[int] = []

    async def one(n: int) -> None:
        params = SamplingParams(max_tokens=10, seed=n, priority=n)
        await collect(backend, prompt(n, 10), params)
        ended.append(n)

    async def main() -> None:
        long = GREEDY.but(max_tokens=100)
        blockers = [
            asyncio.create_task(collect(backend, prompt(50 + n, 5), long)) for n in range(2)
        ]
        await asyncio.sleep(0)
        await asyncio.gather(*(one(n) for n in range(10)), *blockers)

    asyncio.run(main())
    assert sorted(ended) == list(range(10))
    assert sum(ended[:5]) > sum(ended[5:])
    run(backend.close())


def test_cancelled_tasks_leave_the_others_alone() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), max_batch=8)
    asks = [(prompt(n, 20), SamplingParams(max_tokens=60, seed=n)) for n in range(30)]
    expected = gather(backend, asks)

    async def main() -> list[Whole | BaseException]:
        tasks = [asyncio.create_task(collect(backend, *ask)) for ask in asks]
        for n in range(0, 30, 3):
            await asyncio.sleep(0.005)
            tasks[n].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for n, whole in enumerate(asyncio.run(main())):
        if not isinstance(whole, asyncio.CancelledError):
            assert whole.ids == expected[n].ids
    run(backend.close())
    assert backend.running == 0


def test_closing_the_backend_ends_what_runs() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), max_batch=2)

    async def main() -> list[str | None]:
        params = SamplingParams(max_tokens=450, seed=1)
        tasks = [asyncio.create_task(collect(backend, prompt(n, 5), params)) for n in range(5)]
        await asyncio.sleep(0.05)
        await backend.close()
        return [whole.last.finish for whole in await asyncio.gather(*tasks)]

    assert set(asyncio.run(main())) <= {"cancelled", "length"}
    assert backend.running == 0
    with pytest.raises(BackendError, match="closed"):
        run(collect(backend, [1], GREEDY))


def test_a_model_that_fails_ends_its_requests_and_may_recover() -> None:
    model = tiny.model("llama")
    backend = HFBackend(model, tiny.words(), max_batch=2)
    whole = model.lm_head.weight
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(3, 5))

    async def main() -> list[Whole | BaseException]:
        asks = (collect(backend, prompt(n, 20), GREEDY) for n in range(5))
        return await asyncio.gather(*asks, backend.score([1, 2, 3], 1), return_exceptions=True)

    failures = asyncio.run(main())
    assert all(isinstance(failure, BackendError) for failure in failures)
    assert len({id(failure) for failure in failures}) == 6  # each has a traceback of its own
    assert "the model failed" in str(failures[0]) and backend.running == 0
    model.lm_head.weight = whole
    recovered = run(collect(backend, prompt(1, 20), GREEDY))
    assert recovered.ids == reference(tiny.model("llama"), prompt(1, 20), 40)
    run(backend.close())


class Mute(torch.nn.Module):
    """A layer that fails without a word."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError


def test_a_failure_without_a_word_is_one_too_and_the_memory_stays_bounded() -> None:
    per_token = 2 * 2 * 2 * 16 * 4
    model = tiny.model("llama")
    budget = 6 * 256 * per_token
    backend = HFBackend(model, tiny.words(), cache_gib=budget / 2**30)
    whole, model.lm_head = model.lm_head, Mute()
    with pytest.raises(BackendError, match="the model failed: RuntimeError"):
        run(collect(backend, [1, 2, 3], GREEDY))
    model.lm_head = whole
    wholes = gather(backend, [(prompt(n, 20), GREEDY) for n in range(20)])
    assert wholes[0].ids == reference(tiny.model("llama"), prompt(0, 20), 40)
    cache = backend._model.cache
    assert sum(t.numel() * t.element_size() for t in (*cache.keys, *cache.values)) <= budget
    run(backend.close())


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_sequence_that_overflows_is_an_error_and_spoils_no_other(temperature: float) -> None:
    model = tiny.model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = float("nan")
    backend = HFBackend(model, tiny.words(), max_batch=1)
    params = SamplingParams(temperature=temperature, max_tokens=40, seed=1)
    good = [i for i in prompt(1, 40) if i != 5]
    # Another model: this one's own continuation may come to the token.
    asks = [(good[:n], params.but(max_tokens=1)) for n in (3, 7, 12, 20, 30)]
    expected = gather(HFBackend(tiny.model("llama"), tiny.words()), asks)
    for ids, logprobs in (([9, 5, 9], "nan"), ([5, *range(6, 30)], "nan")):
        with pytest.raises(BackendError, match=f"a log-probability is {logprobs}.*dtype=float32"):
            run(collect(backend, ids, params))
        with pytest.raises(BackendError, match="a log-probability is nan"):
            run(backend.score(ids, 1))
    assert [w.ids for w in gather(backend, asks)] == [w.ids for w in expected]
    assert len(run(backend.score(good, 1))) == len(good) - 1
    run(backend.close())


def test_a_full_context_is_a_finish_not_an_error() -> None:
    backend = HFBackend(tiny.model("llama"), tiny.words(), context=64)
    wholes = gather(backend, [(prompt(1, n), GREEDY.but(max_tokens=100)) for n in (10, 63, 64, 80)])
    assert [len(w.ids) for w in wholes] == [54, 1, 0, 0]
    assert {w.last.finish for w in wholes} == {"length"}
    run(backend.close())


def test_the_end_of_sequence_token_ends_it_and_is_returned() -> None:
    model = tiny.model("llama")
    free = reference(model, prompt(1, 9), 40)
    model.generation_config.eos_token_id = free[8]
    backend = HFBackend(model, tiny.words())
    whole = run(collect(backend, prompt(1, 9), GREEDY))
    assert whole.ids == free[: free.index(free[8]) + 1]
    assert whole.last.finish == "eos"
    both = run(collect(backend, prompt(1, 9), GREEDY.but(stop_token_ids=(free[8],))))
    assert (both.ids, both.last.finish) == (whole.ids, "stop")
    run(backend.close())
