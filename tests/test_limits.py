"""What methods make of what they have, when seconds or threads are at an end."""

import asyncio
from collections.abc import Callable

import pytest

from controllers.atts import AsyncScaling
from controllers.beam import Beam
from controllers.best_of_n import BestOfN
from controllers.confidence import Confidence
from controllers.self_consistency import SelfConsistency
from controllers.stability import AdaptiveConsistency
from controllers.tournament import Tournament
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.ledger import Budget
from reason.run import Controller, Trajectory
from reason.steering import GRACE
from reason.types import Prompt, Result, SamplingParams, Thread
from reason.virtual import VirtualLoop
from tests.runs import Run

PLAIN = SamplingParams()
SLOW, QUICK = 50.0, 1.0


def virtually(seen: Run) -> Trajectory:
    """A run on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(seen.go())


def chains(*said: tuple[str, float]) -> ScriptedBackend:
    """Says the answers one after the other, each after so many seconds; then the last again."""
    left = list(said)

    async def script(context: str, params: SamplingParams) -> str:
        answer, seconds = left.pop(0) if len(left) > 1 else left[0]
        await asyncio.sleep(seconds)
        return f"so \\boxed{{{answer}}}"

    return ScriptedBackend(script, chunk=64)


def first(thread: Thread, answer: str | None) -> float:
    return float(answer == "1")


METHODS: dict[str, Callable[[int], Controller]] = {
    "vote": lambda n: SelfConsistency(n=n),
    "adaptive": lambda n: AdaptiveConsistency(n=n, doubt=0),
    "waves": lambda n: AdaptiveConsistency(n=n, doubt=0, wave=3),
    "confidence": lambda n: Confidence(n=n, warmup=2, consensus=1, window=4),
    "best": lambda n: BestOfN(n=n, scorer="first"),
    "beam": lambda n: Beam(beams=1, width=n, scorer="first"),
    "knockout": lambda n: Tournament(n=n, k=1),
    "nested": lambda n: SelfConsistency(n=n, chain=SelfConsistency(n=1)),
    "atts": lambda n: AsyncScaling(n=n, rate=0.0, turns=3),
}


def asked(method: Controller, backend: ScriptedBackend, budget: Budget) -> Trajectory:
    others = {"target": chains(("9", 0.0))}
    seen = Run(method, backend, budget=budget, scorers={"first": first}, others=others)
    return virtually(seen)


@pytest.mark.parametrize("name", METHODS)
def test_when_time_is_up_those_that_ended_are_heard(name: str) -> None:
    """One has ended, and those that would outvote it, or come first, have not."""
    method = METHODS[name](4)
    said = [("2", SLOW), ("1", QUICK), ("2", SLOW), ("2", SLOW)]
    done = asked(method, chains(*said), Budget(seconds=10))
    assert (done.error, done.limit) == (None, "seconds")
    assert done.result is not None and done.result.answer == "1"
    assert 10 <= done.ledger.seconds <= 10 + GRACE
    cut = [t for t in done.tree if t.segments and t.segments[-1].finish == "budget"]
    assert len(cut) == (2 if name == "waves" else 3) and {t.finish for t in cut} == {"budget"}
    # Negative controls: with more time the others are heard, with less nobody has said anything.
    free = asked(method, chains(*said), Budget(seconds=1000))
    assert free.limit is None and free.result is not None
    assert free.result.answer == ("1" if name in ("best", "beam") else "2")
    none = asked(method, chains(*said), Budget(seconds=0.5))
    assert none.limit == "seconds"
    assert none.result is None or none.result.answer is None


@pytest.mark.parametrize("name", list(METHODS)[:7])
def test_as_many_chains_as_there_is_room_for(name: str) -> None:
    """Three of eight, and one that is the root. In a knockout there is none left for judges."""
    method = METHODS[name](8)
    said = [("2", 1.0), ("1", 2.0), ("1", 3.0), ("3", 4.0)]
    done = asked(method, chains(*said), Budget(threads=4))
    assert (done.error, done.limit) == (None, "threads")
    assert done.result is not None
    assert done.result.answer == ("2" if name == "knockout" else "1")
    assert done.ledger.threads == 4
    # Negative controls: with room the others outvote them, with none for a chain there is nothing.
    free = asked(method, chains(*said), Budget(threads=1000))
    assert free.limit is None and free.result is not None and free.ledger.threads >= 9
    found = {"best": "1", "beam": "1", "knockout": "2"}
    assert free.result.answer == found.get(name, "3")
    none = asked(method, chains(*said), Budget(threads=1))
    assert (none.result, none.error) == (None, "the run reached budget.threads=1")


def test_a_method_that_waits_for_something_else_is_stopped_all_the_same() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, PLAIN)
        await asyncio.sleep(1000)
        raise AssertionError("not reached")

    done = virtually(Run(body, chains(("1", 1.0)), budget=Budget(seconds=10)))
    assert (done.result, done.limit) == (None, "seconds")
    assert done.error == "the run reached budget.seconds=10"
    assert done.ledger.seconds == pytest.approx(10 + GRACE)


def test_nothing_is_asked_once_time_is_up_until_there_is_more() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        chains = [engine.fork(root) for _ in range(2)]
        assert await engine.map(lambda t: engine.generate(t, PLAIN), chains) == [None, None]
        late = engine.fork(root)
        assert await engine.map(lambda t: engine.generate(t, PLAIN), [late]) == [None]
        assert await engine.map(engine.score, [late]) == [None]
        engine.extend(Budget(seconds=200))
        return Result((await engine.generate(root, PLAIN)).text, root.id)

    model = chains(("1", SLOW))
    done = virtually(Run(body, model, budget=Budget(seconds=10)))
    assert done.result == Result("so \\boxed{1}", "0")
    assert [t.finish for t in done.tree] == ["eos", "budget", "budget", "budget"]
    assert done.ledger.seconds == pytest.approx(10 + SLOW)
