"""Random numbers come from the place in the tree, so that the schedule cannot change a result."""

from controllers.self_consistency import SelfConsistency
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


def test_a_seed_of_the_parameters_counts_beside_that_of_the_run() -> None:
    def seeds(own: int | None, of_run: int | None) -> list[int | None]:
        asked: list[int | None] = []

        def script(context: str, params: SamplingParams) -> str:
            asked.append(params.seed)
            return "x"

        method = SelfConsistency(n=3, sampling=PLAIN.but(seed=own))
        run(method, script, seed=of_run)
        return asked

    drawn = [seeds(own, of_run) for own in (None, 1, 2) for of_run in (0, 7)]
    assert len({tuple(found) for found in drawn}) == 6
    assert all(len(set(found)) == 3 for found in drawn)
    assert seeds(1, 7) == drawn[3]
    # Without one of their own, requests have had these seeds since the first recorded results.
    assert drawn[0] == [1358652760, 1357169447, 572937845]
