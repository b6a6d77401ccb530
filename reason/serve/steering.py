"""Steering a run from outside: whoever knows its id can."""

from dataclasses import fields
from typing import Any

from reason.errors import ReasonError, ThreadStateError
from reason.ledger import Budget
from reason.serve.fault import Fault, fault_of
from reason.serve.job import Job
from reason.serve.request import Branch, Cancel, Extend, Steer, Stopped
from reason.serve.service import Service


async def steered(run: str, asked: Steer, service: Service) -> dict[str, Any]:
    """Do it; what to answer. Raises Fault for a run that is not going on, and for what cannot be
    done."""
    job = service.runs.get(run)
    if job is None or job.over or job.engine is None:
        raise Fault(404, f"no run {run!r} is going on", code="run_not_found")
    try:
        return {"run": run, **await _done(job, asked)}
    except ReasonError as error:
        raise fault_of(error) from None
    except ThreadStateError as error:
        raise Fault(400, str(error)) from None


async def _done(job: Job, asked: Steer) -> dict[str, Any]:
    steer = job.steer
    if isinstance(asked, Stopped):
        await steer.stop()
        return {}
    if isinstance(asked, Extend):
        await steer.extend(asked.budget)
        assert steer.engine is not None
        return {"budget": _finite(steer.engine.ledger.budget)}
    if isinstance(asked, Cancel):
        await steer.cancel(asked.thread)
        return {"thread": asked.thread}
    if isinstance(asked, Branch):
        kept = asked.kept if isinstance(asked.kept, int) else None
        return {"thread": await steer.branch(asked.thread, asked.hint, kept)}
    return {"thread": asked.thread, "answer": await steer.pin(asked.thread, asked.answer)}


def _finite(budget: Budget) -> dict[str, float]:
    """The limits that there are."""
    values = {each.name: getattr(budget, each.name) for each in fields(Budget)}
    return {name: value for name, value in values.items() if value != float("inf")}
