"""One cell of the measurement: a shape of tree at one load, on one server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from benchmarks.bare import Bare
from benchmarks.gpu.peer import bare_tree
from benchmarks.gpu.shapes import PLANS, Grow, InSequence, Plan, letters
from reason.backends.sglang import SGLangBackend
from reason.errors import BackendError
from reason.record import Recorder
from reason.run import Trajectory, solve

GOAL = 0.9
"""Share of the speed-up in critical-path tokens that the wall clock is to show at load 1."""


@dataclass(frozen=True, slots=True)
class Cell:
    model: str
    shape: str
    load: int
    """Trees at once."""
    scale: float
    """Of the lengths that the papers report."""
    server: str
    """Its flags."""

    @property
    def plan(self) -> Plan:
        return PLANS[self.shape].scaled(self.scale)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured; seconds until the last of all trees was done."""

    cell: Cell
    hardware: str
    sglang: str
    threads: int
    """Children of a tree."""
    tokens: int
    """Sampled by one tree."""
    critical: int
    sequence_seconds: float
    tree_seconds: list[float]
    bare_seconds: list[float]
    prompt_tokens: int
    """Context sent by the trees of one repeat."""
    cached_tokens: int
    cpu_us: float
    """Client CPU per token of the trees; likewise below."""
    bare_cpu_us: float

    @property
    def path(self) -> float:
        """Speed-up in critical-path tokens."""
        return self.tokens / self.critical

    @property
    def wall(self) -> float:
        """Speed-up by the clock."""
        return self.sequence_seconds / median(self.tree_seconds)

    @property
    def arrives(self) -> float:
        return self.wall / self.path

    @property
    def cached(self) -> float:
        return self.cached_tokens / self.prompt_tokens

    @property
    def ratio(self) -> float:
        """Throughput of the trees, ours to the bare client's."""
        pairs = zip(self.bare_seconds, self.tree_seconds, strict=True)
        return median(bare / ours for bare, ours in pairs)


@dataclass(frozen=True, slots=True)
class Took:
    seconds: float
    cpu: float
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Bench:
    """A server, a client of each kind, and a folder for what is recorded."""

    def __init__(self, backend: SGLangBackend, client: Bare, folder: Path, hardware: str) -> None:
        self._backend, self._client = backend, client
        self._folder, self._hardware = folder, hardware

    async def measure(self, cell: Cell, repeats: int) -> Row:
        """Raises BackendError where a tree did not come out as planned."""
        plan = cell.plan
        sequence = await self._ours(InSequence(plan), cell.load, f"{cell} sequence", plan.total)
        ours: list[Took] = []
        bare: list[Took] = []
        for repeat in range(repeats):
            for side in (0, 1) if repeat % 2 else (1, 0):  # in turns
                label = f"{cell} {repeat} {side}"
                if side:
                    ours.append(await self._ours(Grow(plan), cell.load, label, plan.critical))
                else:
                    bare.append(await self._bare(plan, cell.load, label))
        tokens = cell.load * plan.total * repeats / 1e6
        return Row(
            cell,
            self._hardware,
            str(self._client.settings["version"]),
            plan.threads,
            plan.total,
            plan.critical,
            sequence.seconds,
            [took.seconds for took in ours],
            [took.seconds for took in bare],
            ours[-1].prompt_tokens,
            ours[-1].cached_tokens,
            sum(took.cpu for took in ours) / tokens,
            sum(took.cpu for took in bare) / tokens,
        )

    async def warm(self, cell: Cell) -> None:
        """Have the server compile what it compiles at first use."""
        plan = cell.plan
        await self._ours(Grow(plan), cell.load, f"{cell} warm", plan.critical)
        await self._bare(plan, cell.load, f"{cell} warm bare")

    async def _ours(self, method: Grow | InSequence, load: int, label: str, critical: int) -> Took:
        texts = _prompts(method.plan, load, label)
        began, cpu = perf_counter(), process_time()
        recorders = [Recorder(self._folder / f"{i}.jsonl", {}) for i in range(load)]
        runs: Sequence[Trajectory] = await asyncio.gather(
            *(
                solve(method, text, {"policy": self._backend}, sinks=[recorder])
                for text, recorder in zip(texts, recorders, strict=True)
            )
        )
        for recorder in recorders:
            recorder.close()
        took = perf_counter() - began, process_time() - cpu
        for run in runs:
            came = run.ledger.total_tokens, run.tree.critical_path
            if run.error or came != (method.plan.total, critical):
                expected = method.plan.total, critical
                raise BackendError(run.error or f"tokens and path are {came}, planned {expected}")
        return Took(
            *took,
            sum(run.ledger.prompt_tokens for run in runs),
            sum(run.ledger.cached_tokens for run in runs),
        )

    async def _bare(self, plan: Plan, load: int, label: str) -> Took:
        texts = _prompts(plan, load, label)
        began, cpu = perf_counter(), process_time()
        got = await asyncio.gather(
            *(bare_tree(self._client, self._backend.encode, plan, text) for text in texts)
        )
        took = perf_counter() - began, process_time() - cpu
        if set(got) != {plan.total}:
            raise BackendError(f"a bare tree got {min(got)} of {plan.total} tokens")
        return Took(*took)


def _prompts(plan: Plan, load: int, label: str) -> list[str]:
    return [letters(plan.prompt, f"{label} {i}") for i in range(load)]
