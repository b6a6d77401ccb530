"""Steering a run from outside: whoever knows its id can."""

from collections.abc import Mapping
from dataclasses import fields, replace
from math import isnan
from typing import Any

from reason.engine import Engine
from reason.errors import ReasonError, ThreadStateError
from reason.ledger import Budget
from reason.serve.fault import Fault, fault_of
from reason.serve.job import Job
from reason.serve.request import Branch, Cancel, Extend, Steer, Stopped
from reason.serve.service import Service
from reason.types import SamplingParams, Thread


def steered(run: str, asked: Steer, service: Service) -> dict[str, Any]:
    """Do it; what to answer. Raises Fault for a run that is not going on, and for what cannot be
    done."""
    job = service.runs.get(run)
    if job is None or job.over or job.engine is None:
        raise Fault(404, f"no run {run!r} is going on", code="run_not_found")
    try:
        return {"run": run, **_done(job, job.engine, asked, service)}
    except ReasonError as error:
        raise fault_of(error) from None
    except (ValueError, ThreadStateError) as error:
        raise Fault(400, str(error)) from None


def _done(job: Job, engine: Engine, asked: Steer, service: Service) -> dict[str, Any]:
    if isinstance(asked, Stopped):
        engine.cancel(_thread(engine, "0"))
        return {}
    if isinstance(asked, Extend):
        limits = _changed(engine.ledger.budget, asked.budget)
        engine.extend(service.limits.allowed(limits))
        return {"budget": _finite(engine.ledger.budget)}
    thread = _thread(engine, asked.thread)
    if isinstance(asked, Cancel):
        engine.cancel(thread)
        return {"thread": thread.id}
    if isinstance(asked, Branch):
        kept = asked.kept if isinstance(asked.kept, int) else None
        sampling = getattr(job.turn.controller, "sampling", SamplingParams())
        return {"thread": engine.branch(thread, asked.hint, sampling, kept).id}
    answer = asked.answer if asked.answer is not None else _found(job, engine, thread)
    engine.pin(thread, answer)
    return {"thread": thread.id, "answer": answer}


def _thread(engine: Engine, name: str) -> Thread:
    if name not in engine.tree:
        known = ", ".join(each.id for each in list(engine.tree)[:20]) or "none yet"
        raise Fault(400, f"no thread is called {name!r}; there is: {known}", param="thread")
    return engine.tree[name]


def _found(job: Job, engine: Engine, thread: Thread) -> str:
    """The answer in what the thread wrote."""
    end = engine.excerpt(thread, engine.unended(thread)).text
    for text in (thread.text, thread.text.removesuffix(end)):
        answer = job.turn.answer(text) if text else None
        if answer is not None:
            return answer
    raise Fault(400, f"thread {thread.id} has no answer so far: give one", param="answer")


def _changed(budget: Budget, given: Mapping[str, float]) -> Budget:
    known = [each.name for each in fields(Budget)]
    for name, value in given.items():
        if name not in known:
            message = f"a budget has no {name!r}; it has: {', '.join(known)}"
            raise Fault(400, message, param=f"budget.{name}")
        if isnan(value) or value < 0:
            raise Fault(400, f"budget.{name} must be 0 or more, got {value}", param="budget")
    return replace(budget, **given)


def _finite(budget: Budget) -> dict[str, float]:
    """The limits that there are."""
    values = {each.name: getattr(budget, each.name) for each in fields(Budget)}
    return {name: value for name, value in values.items() if value != float("inf")}
