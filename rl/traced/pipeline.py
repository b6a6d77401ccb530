"""Many chains on their way to examples, some at a time, going on where they were stopped."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import msgspec

from reason.errors import BackendError, Unsupported, UsageError
from rl.traced.chain import Chain
from rl.traced.done import LAST, STEPS, Done
from rl.traced.folder import Folder
from rl.traced.steps import Steps
from rl.traced.teacher import Spent
from rl.traced.unusable import Unusable

FAILURES_IN_A_ROW = 20
"""Chains at which the teacher failed, one after the other, that end it all."""
OnStep = Callable[[Done], object]
"""Gets every step as it is finished."""


class Pipeline:
    """Chains, the steps they go through, and the folder that keeps what is done."""

    def __init__(
        self,
        chains: Sequence[Chain],
        steps: Steps,
        folder: Folder,
        on_step: OnStep = lambda _: None,
    ) -> None:
        """Raises UsageError for a chain that is not the one the folder knows by its id, and for
        one that the folder knows and that is not there any more."""
        self.chains, self.steps, self.folder, self.on_step = chains, steps, folder, on_step
        for chain in chains:
            folder.steps(chain.id, chain.digest)
        if gone := folder.done.keys() - {chain.id for chain in chains}:
            raise UsageError(
                f"{folder.out} was begun with {len(gone):,} chains more, such as {min(gone)!r}: "
                "give these too, or another folder"
            )
        self.failed: list[str] = []
        """What the teacher failed with, in this session; such chains are taken up in the next."""
        self._row = 0

    async def run(self, concurrency: int) -> None:
        """All that is to do, at most `concurrency` chains at a time.

        Raises BackendError when the teacher fails for many chains in a row, and Unsupported for
        what it can never do; what is finished is kept.
        """
        waiting = iter([chain for chain in self.chains if not self.folder.finished(chain.id)])
        workers = [asyncio.ensure_future(self._work(waiting)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    @property
    def items(self) -> list[str]:
        """Ids of the chains."""
        return [chain.id for chain in self.chains]

    @property
    def kept(self) -> list[str]:
        """Ids of the examples, in the order of the chains."""
        return [
            chain.id
            for chain in self.chains
            if (last := self.folder.done.get(chain.id, {}).get(LAST)) and last.drop is None
        ]

    async def _work(self, waiting: Iterator[Chain]) -> None:
        for chain in waiting:
            try:
                await self._through(chain)
                self._row = 0
            except Unsupported:
                raise
            except BackendError as error:
                self.failed.append(f"{chain.id}: {error}")
                self._row += 1
                if self._row >= FAILURES_IN_A_ROW:
                    raise BackendError(
                        f"the teacher failed for {self._row} chains in a row, the last time with: "
                        f"{error}. Finished steps are kept in {self.folder.out}; the same command "
                        "goes on from there."
                    ) from error

    async def _through(self, chain: Chain) -> None:
        done = self.folder.steps(chain.id, chain.digest)
        values = {step: row.value for step, row in done.items()}
        for step in STEPS:
            if step in values:
                continue
            if step in ("outlines", "rewriting") and not self.steps.cut(chain, values):
                continue
            spent, drop, value = Spent(), None, None
            try:
                if step == LAST:
                    value = await self.steps.filter(chain, values, spent, self.folder.keep)
                else:
                    value = await getattr(self.steps, step)(chain, values, spent)
            except Unusable as error:
                drop = error.reason, error.detail
            # No await from here on: a step that is finished is on record, whatever is cancelled.
            values[step] = msgspec.to_builtins(value)
            self.on_step(self.folder.add(chain.id, step, chain.digest, values[step], spent, drop))
            if drop:
                return
