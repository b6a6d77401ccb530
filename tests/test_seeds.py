"""Random numbers come from the place in the tree, so that the schedule cannot change a result."""

from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.types import Prompt, Result, SamplingParams, Thread
from tests.runs import run

PLAIN = SamplingParams()


def seeded(context: str, params: SamplingParams) -> str:
    """Writes something that depends on the seed, of a length that does too."""
    seed = params.seed
    assert seed is not None
    return f"{seed:x}" * (seed % 5 + 1)


async def branching(engine: Engine, prompt: Prompt) -> Result:
    root = engine.open(prompt)

    async def twice(thread: Thread) -> None:
        await engine.generate(thread, PLAIN)
        below = [engine.fork(thread) for _ in range(2)]
        await engine.map(lambda t: engine.generate(t, PLAIN), below)
        engine.join(thread, below)
        await engine.generate(thread, PLAIN)

    chains = [engine.fork(root) for _ in range(4)]
    await engine.map(twice, chains)
    engine.join(root, chains)
    return Result(None, root.id)


def test_seeds_come_from_the_place_in_the_tree_not_from_the_schedule() -> None:
    def outcome(seed: int, chunk: int, delay: float) -> dict[str, str]:
        backend = ScriptedBackend(seeded, chunk=chunk, delay=delay)
        tree = run(branching, backend, seed=seed).tree
        return {t.id: t.text for t in tree}

    first = outcome(3, 8, 0)
    for chunk, delay in ((1, 0.0), (3, 0.0), (64, 0.0), (16, 0.001)):
        assert outcome(3, chunk, delay) == first
    assert len(set(first.values())) == len(first)
    other = outcome(4, 8, 0)
    assert all(other[name] != text for name, text in first.items() if text)


def test_seeds_fall_back_to_those_of_the_parameters_and_may_be_absent() -> None:
    seeds: list[int | None] = []

    def script(context: str, params: SamplingParams) -> str:
        seeds.append(params.seed)
        return "x"

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        for seed in (None, 5, 5):
            await engine.generate(root, PLAIN.but(seed=seed))
        return Result(None, root.id)

    run(body, script)
    assert seeds[0] is None
    assert None not in seeds[1:] and seeds[1] != seeds[2]
    again, seeds[:] = seeds[:], []
    run(body, script)
    assert seeds == again
