"""Every limit ends a run for a stated reason, with all it has."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.self_consistency import SelfConsistency
from reason.backends.hf import HFBackend
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import BackendError, BudgetExceeded
from reason.events import Closed, Event, Tokens
from reason.ledger import Budget, Ledger
from reason.sampling import Enough
from reason.types import Prompt, Result, SamplingParams, Segment, Thread
from tests import tiny
from tests.runs import Run, run

PLAIN = SamplingParams()


def endless(context: str, params: SamplingParams) -> str:
    return "x" * 10_000


async def alone(engine: Engine, prompt: Prompt) -> Result:
    root = engine.open(prompt)
    await engine.generate(root, PLAIN.but(max_tokens=50))
    await engine.generate(root, PLAIN)
    raise AssertionError("not reached")


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("-inf")])
def test_a_limit_is_0_or_more(value: float) -> None:
    with pytest.raises(ValueError, match="depth must be 0 or more"):
        Budget(depth=value)


# The prompt "Q" is one token of context.
@pytest.mark.parametrize("chunk", [1, 8, 64])
@pytest.mark.parametrize(
    ("limit", "value", "sampled"),
    [
        ("total_tokens", 77, 77),
        ("total_tokens", 77.9, 77),
        ("critical_path", 60, 60),
        ("context", 60, 59),
        ("total_tokens", 50, 50),
        ("total_tokens", 49, 49),
        ("total_tokens", 0, 0),
        ("context", 0, 0),
    ],
)
def test_limits_on_tokens_are_exact_for_one_thread(
    limit: str, value: float, sampled: int, chunk: int
) -> None:
    done = run(alone, ScriptedBackend(endless, chunk=chunk), budget=Budget(**{limit: value}))
    assert done.ledger.total_tokens == sampled
    assert done.error == f"the run reached budget.{limit}={value:g}"
    assert (done.limit, done.result, done.tree.root.finish) == (limit, None, "budget")
    assert done.tree.root.segments[-1].finish == "budget"
    assert done.tree.root.text == "x" * sampled


def test_what_was_asked_for_and_given_in_full_is_no_breach() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        segment = await engine.generate(engine.open(prompt), PLAIN.but(max_tokens=50))
        return Result(segment.text, "0")

    done = run(body, endless, budget=Budget(total_tokens=50))
    assert (done.limit, done.error, done.ledger.total_tokens) == (None, None, 50)
    assert done.tree.root.segments[-1].finish == "length"


def test_the_models_own_window_is_no_breach_of_the_budget() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        segment = await engine.generate(engine.open(prompt), PLAIN)
        return Result(segment.text, "0")

    backend = ScriptedBackend(endless, context=31)
    done = run(body, backend, budget=Budget(total_tokens=500))
    assert (done.limit, done.error, done.ledger.total_tokens) == (None, None, 30)
    assert done.tree.root.finish == "length"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 6))
def test_the_total_overshoots_by_at_most_a_chunk_per_thread(total: int, chunk: int, n: int) -> None:
    backend = ScriptedBackend(endless, chunk=chunk)
    method = SelfConsistency(n=n, sampling=PLAIN.but(max_tokens=200))
    done = run(method, backend, budget=Budget(total_tokens=total))
    # Alone it stops exactly; beside others, each may have a chunk under way.
    slack = n * chunk if n > 1 and total < 200 * n else 0
    assert min(total, 200 * n) <= done.ledger.total_tokens <= min(total, 200 * n) + slack
    assert done.limit == ("total_tokens" if total < 200 * n else None)
    chains = list(done.tree)[1:]
    assert {t.finish for t in chains} <= {"budget", "length"}
    assert all(t.finish == "budget" for t in chains if t.clock < 200)


@pytest.mark.parametrize(
    ("budget", "limit", "threads"),
    [
        (Budget(threads=3), "threads", 3),
        (Budget(threads=0), "threads", 0),
        (Budget(depth=2), "depth", 3),
        (Budget(depth=0), "depth", 1),
    ],
)
def test_limits_on_threads(budget: Budget, limit: str, threads: int) -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        thread = engine.open(prompt)
        for _ in range(5):
            await engine.generate(thread, PLAIN.but(max_tokens=4))
            thread = engine.fork(thread)
        raise AssertionError("not reached")

    done = run(body, endless, budget=budget)
    assert done.error == f"the run reached budget.{limit}={getattr(budget, limit):g}"
    assert (done.limit, len(done.tree), done.ledger.total_tokens) == (limit, threads, threads * 4)
    assert {t.finish for t in done.tree} <= {"budget"}


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_the_time_limit_stops_threads_wherever_they_are(seconds: float) -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(3)]
        found = await engine.map(lambda t: engine.generate(t, PLAIN), chains)
        assert found == [None] * 3
        await engine.generate(root, PLAIN)
        raise AssertionError("not reached")

    backend = ScriptedBackend(endless, delay=0.004)
    done = run(body, backend, budget=Budget(seconds=seconds))
    assert done.error == f"the run reached budget.seconds={seconds:g}"
    assert (done.limit, done.tree.root.finish) == ("seconds", "budget")
    assert [t.finish for t in done.tree][1:] == ["budget"] * 3
    assert {t.segments[-1].finish for t in done.tree} == {"budget"}
    assert done.ledger.total_tokens == sum(len(t.text) for t in done.tree)


def test_a_limit_hit_by_a_child_is_on_record_where_the_method_finds_a_result() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        long, short = engine.fork(root), engine.fork(root)
        asked = {long.id: 100, short.id: 10}
        segments = await engine.map(
            lambda t: engine.generate(t, PLAIN.but(max_tokens=asked[t.id])), [long, short]
        )
        engine.join(root, [long, short])
        return Result("|".join(s.text if s else "none" for s in segments), root.id)

    done = run(body, endless, budget=Budget(critical_path=20))
    assert done.result == Result("none|xxxxxxxxxx", "0")
    assert (done.limit, done.error, done.tree.critical_path) == ("critical_path", None, 20)
    assert [t.finish for t in done.tree] == ["eos", "budget", "length"]
    detail = "the run reached budget.critical_path=20"
    seen = Run(body, endless, budget=Budget(critical_path=20))
    asyncio.run(seen.go())
    closed = {e.thread: e.detail for e in seen.events if isinstance(e, Closed)}
    assert closed == {"0": "", "0.0": detail, "0.1": ""}


def test_extend_lets_running_requests_go_on() -> None:
    asked: list[int] = []
    seeds: set[int | None] = set()

    def script(context: str, params: SamplingParams) -> str:
        asked.append(params.max_tokens)
        seeds.add(params.seed)
        return "x" * (200 - len(context))

    async def body(engine: Engine, prompt: Prompt) -> Result:
        segment = await engine.generate(engine.open(prompt), PLAIN)
        return Result(segment.text, "0")

    seen = Run(body, script, budget=Budget(total_tokens=64), seed=1)

    def extend(event: Any) -> None:
        engine = seen.engine
        assert engine is not None
        if engine.ledger.total_tokens == 40 and engine.ledger.budget.total_tokens == 64:
            engine.extend(Budget(total_tokens=500))

    seen.sinks.append(extend)
    done = asyncio.run(seen.go())
    assert done.result == Result("x" * 199, "0")
    assert asked == [64, 436]
    assert len(seeds) == 2  # or the second request would draw what the first has drawn
    assert (done.limit, done.ledger.prompt_tokens) == (None, 1 + 65)
    root = done.tree.root
    assert root.segments[1:] == [
        Segment("sampled", "x" * 199, [ord("x")] * 199, [-0.1] * 199, "eos")
    ]


def sent(body: Any, backend: Any, **options: Any) -> tuple[int, int]:
    """Prompt tokens counted, and those of the contexts that the model was in fact sent."""
    contexts: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        contexts.append(context)
        written: str = backend(context, params)
        return written

    done = run(body, script, prompt="Q" * 50, **options)
    return done.ledger.prompt_tokens, sum(map(len, contexts))


def test_the_context_of_a_request_counts_however_the_request_ends() -> None:
    lengths = iter([4000, 3, 4000])

    async def first_of_three(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(3)]
        async with engine.race(lambda t: engine.generate(t, PLAIN), chains) as finished:
            async for _ in finished:
                break
        return Result(None, root.id)

    assert sent(first_of_three, lambda c, p: "x" * next(lengths)) == (150, 150)

    vote = SelfConsistency(n=4, sampling=PLAIN)
    for budget in (Budget(total_tokens=100), Budget(critical_path=20), Budget(seconds=0.05)):
        counted, contexts = sent(vote, endless, budget=budget)
        assert counted == contexts >= 200, budget

    def breaks(context: str, params: SamplingParams) -> str:
        raise BackendError("connection refused")

    assert sent(alone, breaks) == (0, 50)  # nobody says that it was read


def test_the_context_of_a_request_counts_though_not_one_token_came() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, PLAIN)
        raise AssertionError("not reached")

    backend = ScriptedBackend(endless, delay=60)
    done = run(body, backend, prompt="Q" * 50, budget=Budget(seconds=0.05))
    assert (done.ledger.total_tokens, done.ledger.prompt_tokens) == (0, 50)


def test_extend_may_also_lower_a_limit() -> None:
    seen = Run(alone, endless)

    def lower(event: Any) -> None:
        engine = seen.engine
        assert engine is not None
        if engine.ledger.total_tokens >= 16 and engine.ledger.budget == Budget():
            engine.extend(Budget(context=20))

    seen.sinks.append(lower)
    done = asyncio.run(seen.go())
    assert done.error == "the run reached budget.context=20"
    assert done.ledger.total_tokens == 24  # within one chunk of the 19 that fit


async def test_extend_moves_the_deadline_and_does_no_harm_afterwards() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, PLAIN.but(max_tokens=64))
        return Result("done", root.id)

    seen = Run(body, ScriptedBackend(endless, delay=0.002), budget=Budget(seconds=0.005))
    task = asyncio.create_task(seen.go())
    await asyncio.sleep(0)
    assert seen.engine is not None
    seen.engine.extend(Budget())
    done = await task
    assert (done.result, done.limit) == (Result("done", "0"), None)
    for seconds in (0, 5, float("inf")):
        seen.engine.extend(Budget(seconds=seconds))
    await asyncio.sleep(0)


def test_a_method_may_go_on_after_an_extension() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        with pytest.raises(BudgetExceeded) as exceeded:
            await engine.generate(root, PLAIN)
        assert exceeded.value.limit == "total_tokens"
        engine.extend(Budget(total_tokens=30))
        segment = await engine.generate(root, PLAIN.but(max_tokens=12))
        return Result(segment.text, root.id)

    done = run(body, endless, budget=Budget(total_tokens=10))
    assert (done.result, done.limit) == (Result("x" * 12, "0"), "total_tokens")


def test_the_room_of_a_thread_is_the_least_of_three() -> None:
    ledger = Ledger(Budget(total_tokens=100, critical_path=70, context=90), total_tokens=20)
    assert ledger.room(Thread("0", "m", clock=10, length=40)) == (50, "context")
    assert ledger.room(Thread("0", "m", clock=30, length=40)) == (40, "critical_path")
    assert ledger.room(Thread("0", "m", clock=-20, length=0)) == (80, "total_tokens")
    assert ledger.full(0) is None
    assert Ledger(Budget(threads=2), threads=2).full(0) == "threads"
    assert Ledger(Budget(depth=1)).full(2) == "depth"


def test_what_is_cut_short_has_the_text_of_its_tokens() -> None:
    """Also of bytes that are no characters, or not yet: their text waits for what follows."""
    words, finishes = tiny.letters(), set[Any]()
    for seed in range(12):
        backend = HFBackend(tiny.model("llama", vocabulary=len(words)), words)
        seen = Run(_cut_short, backend, budget=Budget(total_tokens=40), seed=seed)

        def sink(event: Event, seen: Run = seen) -> None:
            if isinstance(event, Tokens) and event.thread == "0.0" and event.origin == "sampled":
                assert seen.engine is not None
                if len(seen.engine.tree["0.0"].ids) > 8:
                    seen.engine.cancel(seen.engine.tree["0.0"])

        seen.sinks.append(sink)
        done = asyncio.run(seen.go())
        segments = [s for t in done.tree for s in t.segments if s.origin == "sampled"]
        finishes |= {s.finish for s in segments}
        assert [s.text for s in segments] == [words.decode(s.ids) for s in segments]
    assert finishes >= {"budget", "cancelled", "stop"}


async def _cut_short(engine: Engine, prompt: Prompt) -> Result:
    root = engine.open(prompt)
    threads = [engine.fork(root) for _ in range(4)]

    async def one(thread: Thread) -> Segment:
        few: Enough | None = (lambda s: len(s.ids) > 6) if thread.id == "0.3" else None
        return await engine.generate(thread, PLAIN, enough=few)

    await engine.map(one, threads)
    return Result("", root.id)
