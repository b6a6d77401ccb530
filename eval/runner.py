"""Run a method on many problems, and go on where an earlier attempt was stopped.

The folder of an evaluation holds

* config.json    what is evaluated; a folder goes on with the same configuration only, but for
                 more problems or repeats
* manifest.json  under what it ran, one entry per session
* samples.jsonl  one row per finished sample, appended at once
* trees.jsonl    the thread tree of every sample, there before its row; unless turned off
* metrics.json   a function of the samples alone; written when all of them are there
* timing.json    the wall clock and what a prefix cache saved, which add up over sessions
* times.jsonl    seconds of every sample, and those to its first token

A resumed evaluation keeps every row but those in which the model failed, and runs what is missing:
nothing is done twice. Where the backend is reproducible it ends with the same metrics.json, byte
for byte, as one that was never stopped, at any concurrency.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.allowance import Allowance
from eval.flight import Flight, Seat
from eval.folder import discard, settle_config, write_json
from eval.item import UNDECIDED, Item
from eval.jsonl import JsonLines, encode
from eval.manifest import add_session
from eval.metrics import Metrics, measure
from eval.recording import Recording
from eval.samples import Sample, read_samples
from eval.scorers import scorers_of
from eval.timing import Timing
from eval.trees import NAME, Tree
from reason.answers import in_thought
from reason.backends.base import Backend
from reason.condenser import Condenser
from reason.errors import BackendError, BudgetExceeded, UsageError
from reason.events import Closed, Event
from reason.ledger import Budget
from reason.run import Controller, Trajectory, solve

FAILURES_IN_A_ROW = 20
"""Samples without an answer because the model failed, one after the other, that end it all."""

OnRow = Callable[[Sample, bool], object]
"""Gets every row: first those that were there (False), then each new one as it finishes (True)."""


async def evaluate(
    controller: Controller,
    items: Sequence[Item],
    backends: Mapping[str, Backend],
    out: Path,
    *,
    config: Mapping[str, Any],
    repeats: int = 1,
    budget: Budget | None = None,
    seed: int = 0,
    concurrency: int = 16,
    tokens_in_flight: int | None = None,
    trees: bool = True,
    recording: Recording | None = None,
    allowance: Allowance | None = None,
    on_row: OnRow | None = None,
) -> Metrics:
    """Run the method `repeats` times on every item, at most `concurrency` runs at once.

    With `tokens_in_flight`, no run is begun while those that run hold as many tokens or more, all
    threads together, each counted once: what fits in a server's cache. One run is always allowed.
    `config` is what must be the same for the folder to be resumed. `trees` keeps the thread tree of
    every sample, and may be turned off only where there is none yet. A `recording` answers instead
    of the models. Once an `allowance` is spent, no sample is begun, and BudgetExceeded is raised if
    one is missing. Raises UsageError for a folder that cannot be used or written, BackendError when
    the model fails again and again; then, and when cancelled, finished rows are kept and the same
    call goes on from there.
    """
    wanted = _wanted(items, repeats)
    if concurrency < 1:
        raise UsageError(f"concurrency must be 1 or more, got {concurrency}")
    if tokens_in_flight is not None and tokens_in_flight < 1:
        raise UsageError(f"tokens_in_flight must be 1 or more, got {tokens_in_flight}")
    with JsonLines[Sample](out / "samples.jsonl") as samples:
        settle_config(out / "config.json", config, begun=not samples.empty)
        rows = _kept(samples, wanted)
        for row in rows.values():
            if allowance:
                allowance.add(row)
            if on_row:
                on_row(row, False)
        left = [key for key in wanted if key not in rows]
        if left:
            with _trees(out / NAME, trees) as kept:
                discard(out / "metrics.json")  # of an attempt in which some failed
                add_session(out / "manifest.json", backends)
                timing = Timing(out / "timing.json")
                session = _Session(
                    controller=controller,
                    backends=backends,
                    recording=recording,
                    allowance=allowance,
                    budget=budget,
                    seed=seed,
                    samples=samples,
                    trees=kept,
                    timing=timing,
                    on_row=on_row,
                    rows=rows,
                    flight=Flight(tokens_in_flight),
                )
                await session.run(((wanted[key], key[1]) for key in left), concurrency)
            missing = len(wanted) - len(rows)
            if missing and allowance and (spent := allowance.spent()):
                raise BudgetExceeded(
                    "sweep", f"{spent}, {missing} of {len(wanted)} samples missing"
                )
        metrics = measure(rows.values())
        write_json(out / "metrics.json", metrics)
    return metrics


def _wanted(items: Sequence[Item], repeats: int) -> dict[tuple[str, int], Item]:
    """Every sample to be drawn; each problem once before any is repeated."""
    if not items or repeats < 1:
        raise UsageError(f"nothing to evaluate: {len(items)} problems, repeated {repeats} times")
    wanted = {(item.id, repeat): item for repeat in range(repeats) for item in items}
    if len(wanted) < len(items) * repeats:
        ids = len(wanted) // repeats
        raise UsageError(f"problems need an id each, got {ids} ids for {len(items)} problems")
    return wanted


def _kept(
    samples: JsonLines[Sample], wanted: Mapping[tuple[str, int], Item]
) -> dict[tuple[str, int], Sample]:
    """The rows to keep; failed ones are taken out of the file."""
    rows = read_samples(samples.path)
    for key, row in rows.items():
        if key not in wanted:
            raise UsageError(
                f"{samples.path} holds {row.id!r}, repeat {row.repeat}, which is no part of this "
                "evaluation: its problems have changed; give another folder"
            )
    failed = [key for key, row in rows.items() if row.failed]
    if failed:
        for key in failed:
            del rows[key]
        samples.replace(map(encode, rows.values()))
    return rows


def _trees(path: Path, keep: bool) -> AbstractContextManager[JsonLines[Tree] | None]:
    """Where trees go. A file that lacked some would show the tree of a failed run for another's."""
    if keep:
        return JsonLines(path)
    if path.exists():
        raise UsageError(
            f"{path} holds the trees of earlier samples: go on with trees=true, or remove it"
        )
    return nullcontext()


@dataclass
class _Session:
    """One start of an evaluation: the runs that are still missing."""

    controller: Controller
    backends: Mapping[str, Backend]
    recording: Recording | None
    allowance: Allowance | None
    budget: Budget | None
    seed: int
    samples: JsonLines[Sample]
    trees: JsonLines[Tree] | None
    timing: Timing
    on_row: OnRow | None
    rows: dict[tuple[str, int], Sample]
    flight: Flight
    failures: int = 0
    """Since the last sample in which the model did not fail."""

    async def run(self, jobs: Iterator[tuple[Item, int]], concurrency: int) -> None:
        async def work() -> None:
            for item, repeat in jobs:  # shared: whoever is free takes the next
                async with self.flight.seat() as seat:
                    if self.allowance and self.allowance.spent():
                        return
                    await self._sample(item, repeat, seat)

        workers = [asyncio.create_task(work()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            with suppress(UsageError):  # what writes the results says so if the disk is full
                self.timing.close()

    async def _sample(self, item: Item, repeat: int, seat: Seat) -> None:
        lost: list[str] = []
        condenser = Condenser()
        backends, scorers = self.backends, dict(scorers_of(item, self.backends))
        if self.recording:
            backends = self.recording.backends(item.id, repeat)
            scorers |= self.recording.scorers(item.id)

        def watch(event: Event) -> None:
            if isinstance(event, Closed) and event.finish == "error":
                lost.append(event.detail)

        run = await solve(
            self.controller,
            item.prompt,
            backends,
            budget=self.budget,
            sinks=[watch, seat, *([condenser] if self.trees else [])],
            scorers=scorers,
            seed=f"{self.seed}/{item.id}/{repeat}",
        )
        if isinstance(run.failure, UsageError):  # it would be the same for every sample
            raise run.failure
        if self.recording and lost:  # and this the same every time
            raise UsageError(f"{item.id}: {lost[0]}")
        answer = run.result.answer if run.result else None
        slow = item.slow and answer is not None
        fault = await asyncio.to_thread(item.fault, answer) if slow else item.fault(answer)
        row = _row(item, repeat, run, lost, fault)
        # No await from here on: a run that has finished is on record, whatever is cancelled.
        if self.trees:
            self.trees.append(Tree(id=item.id, repeat=repeat, events=condenser.events))
        self.samples.append(row)
        self.rows[row.key] = row
        if self.allowance:
            self.allowance.add(row)
        self.timing.add(row, run.ledger.seconds, run.ledger.ttft)
        if self.on_row:
            self.on_row(row, True)
        self.failures = self.failures + 1 if row.failed and row.answer is None else 0
        if self.failures >= FAILURES_IN_A_ROW:
            raise BackendError(
                f"the model failed for {self.failures} samples in a row, the last time with: "
                f"{row.error}. Finished samples are kept in {self.samples.path}; the same command "
                "goes on from there."
            )


def _row(
    item: Item, repeat: int, run: Trajectory, lost: Sequence[str], fault: str | None
) -> Sample:
    account = run.account()
    error = run.error
    if error is None and lost:  # the method got over it, but worse off than it should have been
        error = f"{len(lost)} of {len(run.tree)} threads failed, the first with: {lost[0]}"
    ending = run.tree[run.result.thread] if run.result else run.tree.root if len(run.tree) else None
    return Sample(
        id=item.id,
        repeat=repeat,
        answer=account["answer"],
        correct=fault is None,
        error=error,
        failed=bool(lost) or (len(run.tree) == 0 and run.limit is None),
        limit=run.limit,
        finish=ending.finish if ending else None,
        thread=account["thread"],
        critical_path=account["critical_path"],
        total_tokens=account["total_tokens"],
        longest_sequence=account["longest_sequence"],
        prompt_tokens=account["prompt_tokens"],
        cached_tokens=account["cached_tokens"],
        threads=account["threads"],
        peak_threads=account["peak_threads"],
        in_thought=run.result is not None and in_thought(run.tree[run.result.thread].text),
        ungraded=fault if fault and fault.startswith(UNDECIDED) else None,
        warnings=run.warnings,
        group=item.group,
    )
