"""The arms of the Countdown comparison: what is run, and how a run comes out under a budget."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import mean

from msgspec.structs import replace
from rich.progress import track

from controllers.apr import AdaptiveParallel
from controllers.single import Single
from eval.command import resolve
from eval.metrics import Figure
from eval.runner import evaluate
from eval.samples import Sample, read_samples
from eval.tasks import task_of
from reason.answers import majority
from reason.backends.hf import HFBackend
from reason.ledger import Budget
from reason.run import Controller
from reason.types import SamplingParams

Arms = dict[str, list[Sample]]
Pick = Callable[[Sequence[Sample], Figure, float], Sample]
BUDGETS = (256, 384, 512, 768)
CHAINS = 4
GREEDY = SamplingParams(temperature=0.0, max_tokens=2048)
WARM = SamplingParams(temperature=1.0, max_tokens=2048)
TASK = "countdown4"
FIGURES: tuple[Figure, ...] = ("longest_sequence", "critical_path", "total_tokens")

ARMS: dict[str, Controller] = {
    "apr": AdaptiveParallel(syntax="countdown", sampling=GREEDY),
    "apr, 8 children": AdaptiveParallel(width=8, syntax="countdown", sampling=GREEDY),
    "apr, 4 children": AdaptiveParallel(width=4, syntax="countdown", sampling=GREEDY),
    "apr, 2 children": AdaptiveParallel(width=2, syntax="countdown", sampling=GREEDY),
    "serial, exhaustive": Single(syntax="countdown", sampling=GREEDY),
    "serial, 8 first steps": Single(width=8, syntax="countdown", sampling=GREEDY),
}
SAMPLED: dict[str, Controller] = {
    "chains, exhaustive": Single(syntax="countdown", sampling=WARM),
    "chains, 8 first steps": Single(width=8, syntax="countdown", sampling=WARM),
}
"""Chains that are sampled `CHAINS` times each."""
OWN = ", own weights"
"""Said of the serial arms of a model that was trained on serial search alone."""


async def run(
    model: Path, out: Path, limit: int, name: str, method: Controller, repeats: int
) -> list[Sample]:
    """The samples of one arm, resumed where they are there already."""
    budget = Budget(context=2048)
    backend = HFBackend.load(str(model))
    try:
        items = list(task_of(TASK).items(limit, 0, "countdown"))
        config = resolve(TASK, repeats, method, name, {"policy": backend}, budget, limit, 0)
        folder = out / model.parent.name / name
        backends = {"policy": backend}
        await evaluate(
            method, items, backends, folder,
            config=config, repeats=repeats, budget=budget, concurrency=24,
        )  # fmt: skip
        return list(read_samples(folder / "samples.jsonl").values())
    finally:
        await backend.close()


def study(
    models: Sequence[Path], serial: Path | None, out: Path, limit: int
) -> dict[str, list[Sample]]:
    """Samples by arm; the repeat of a row says which training seed it is of."""
    found: dict[str, list[Sample]] = {}
    jobs = [(models[0], 0, name) for name in ARMS | SAMPLED]
    jobs += [(model, seed, name) for seed, model in enumerate(models) if seed for name in ARMS]
    if serial:
        jobs += [(serial, 0, name) for name in ARMS | SAMPLED if not name.startswith("apr")]
    for model, seed, name in track(jobs, "arms"):
        repeats = CHAINS if name in SAMPLED else 1
        rows = asyncio.run(run(model, out, limit, name, (ARMS | SAMPLED)[name], repeats))
        found.setdefault(name + OWN * (model == serial), []).extend(
            replace(row, repeat=seed * repeats + row.repeat) for row in rows
        )
    return found


def sampled(found: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Those of the arms that are chains to choose from."""
    return [name for name in found if name.removesuffix(OWN) in SAMPLED]


def chosen(found: Mapping[str, Sequence[Sample]], figure: Figure, window: float) -> Arms:
    """Every arm as it would have come out under a budget; an infinite one cuts nothing."""
    arms: Arms = {
        name: [
            replace(row, correct=row.correct and getattr(row, figure) <= window)
            for row in found[name]
        ]
        for name in found
        if name.removesuffix(OWN) in ARMS
    }
    for name in sampled(found):
        for title, pick in (("majority", majority_of), ("verified best", verified_best)):
            n = chains(found, name, pick)
            groups: dict[tuple[str, int], list[Sample]] = {}
            for row in sorted(found[name], key=lambda row: row.repeat):
                group = groups.setdefault((row.id, row.repeat // CHAINS), [])
                if len(group) < n:
                    group.append(row)
            arms[f"{title} of {n} {name}"] = [
                replace(pick(group, figure, window), repeat=seed)
                for (_, seed), group in groups.items()
            ]
    return arms


def chains(found: Mapping[str, Sequence[Sample]], name: str, pick: Pick) -> int:
    """How many chains cost, on average, what comes nearest to APR's total tokens."""
    target = mean(row.total_tokens for row in found["apr"])

    def cost(n: int) -> float:
        groups: dict[tuple[str, int], list[Sample]] = {}
        for row in found[name]:
            if row.repeat % CHAINS < n:
                groups.setdefault((row.id, row.repeat // CHAINS), []).append(row)
        return mean(pick(group, "total_tokens", inf).total_tokens for group in groups.values())

    return min(range(1, CHAINS + 1), key=lambda n: abs(cost(n) - target))


def majority_of(group: Sequence[Sample], figure: Figure, window: float) -> Sample:
    """All chains run to their end or to the limit; those that ended inside it vote."""
    inside = [row for row in group if figure == "total_tokens" or getattr(row, figure) <= window]
    vote = majority([row.answer for row in inside])
    right = bool(inside) and vote.answer is not None and inside[vote.index].correct
    total = sum(row.total_tokens for row in group)
    return replace(
        group[0],
        correct=right and (figure != "total_tokens" or total <= window),
        total_tokens=total,
        critical_path=max(row.critical_path for row in group),
        longest_sequence=max(row.longest_sequence for row in group),
    )


def verified_best(group: Sequence[Sample], figure: Figure, window: float) -> Sample:
    """The first chain that the verifier accepts stops all others."""
    right = [row for row in group if row.correct]
    end = min((row.critical_path for row in right), default=inf)
    total = int(sum(min(row.total_tokens, end) for row in group))
    best = min(right or group, key=lambda row: row.critical_path)
    spent = total if figure == "total_tokens" else getattr(best, figure)
    return replace(best, correct=bool(right) and spent <= window, total_tokens=total)
