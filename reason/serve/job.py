"""One choice of a request: a run of a method, and how it ended."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reason.account import Ending, account
from reason.ask import ending_of
from reason.backends.base import Backend
from reason.engine import Engine
from reason.errors import BudgetExceeded, ThreadCancelled
from reason.question import Turn
from reason.run import Trajectory, solve
from reason.serve.fault import Fault, broken, fault_of, unavailable
from reason.serve.outbox import Bell, Outbox
from reason.serve.transcript import Transcript
from reason.steer import LocalSteer

log = logging.getLogger("reason.serve")


@dataclass(slots=True)
class Job:
    """Begun by `start`; `bell` rings for all that comes, and once it is over."""

    id: str
    """By which it is steered."""
    index: int
    turn: Turn
    models: Mapping[str, Backend]
    seed: int | str | None
    bell: Bell
    outbox: Outbox
    transcript: Transcript
    steer: LocalSteer
    run: Trajectory | None = None
    fault: Fault | None = None
    """Why there is nothing to be told, or no more."""
    shown: str = "0"
    """The thread whose reasoning was sent last."""
    reasoned: bool = False
    """Whether any was sent."""
    over: bool = False
    first: float | None = None
    """When the first token came, on the monotonic clock."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self) -> None:
        self.task = asyncio.create_task(self._work())

    @property
    def engine(self) -> Engine | None:
        return self.transcript.engine

    async def stop(self, fault: Fault | None = None) -> None:
        """End it, and wait until its threads have let go; `fault` says why."""
        if self.task is None or self.task.done():
            return
        self.fault = self.fault or fault
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def ending(self) -> Ending:
        """How the run ended, its answer checked, and why in words for people."""
        assert self.run is not None
        found, failure = ending_of(self.run, self.turn.question), self.run.failure
        return replace(found, error=str(failure)) if failure else found

    @property
    def account(self) -> dict[str, Any]:
        assert self.run is not None
        return account(self.run, self.ending)

    @property
    def finish(self) -> Literal["stop", "length"]:
        """As OpenAI says it: whether it ended by itself, or a limit ended it."""
        assert self.run is not None
        result = self.run.result
        if result is None or result.answer is None:
            limited = isinstance(self.run.failure, BudgetExceeded) or self.run.limit is not None
            if limited:
                return "length"
        last = self.run.tree[result.thread] if result else None
        segments = last.segments if last else []
        return "length" if segments and segments[-1].finish in ("length", "budget") else "stop"

    async def _work(self) -> None:
        try:
            await self._solve()
        except asyncio.CancelledError:
            self.fault = self.fault or unavailable("the request was stopped")
        except Exception:
            log.exception("run %s failed", self.id)
            self.fault = Fault(500, "the server failed; its log says why", code="internal_error")
        finally:
            self.over = True
            self.bell.ring(True)

    async def _solve(self) -> None:
        question = self.turn.question

        def begun(engine: Engine) -> None:
            self.transcript.engine = engine
            self.steer(engine)

        self.run = run = await solve(
            self.turn.controller,
            question.prompt,
            self.models,
            budget=self.turn.budget,
            sinks=[self.transcript, self._watch],
            scorers=question.scorers,
            seed=self.seed,
            steer=begun,
        )
        answered = run.result is not None and run.result.answer is not None
        self.fault = self.transcript.fault
        if run.failure and not isinstance(run.failure, BudgetExceeded | ThreadCancelled):
            self.fault = self.fault or fault_of(run.failure)
        elif not answered and self.transcript.failed and not self.transcript.content:
            self.fault = self.fault or broken(self.transcript.failed)
        self.transcript.finish(run)

    def _watch(self, event: Any) -> None:
        if self.first is None and getattr(event, "origin", "") == "sampled" and event.ids:
            self.first = time.monotonic()
