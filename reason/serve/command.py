"""The command `reason serve`: from its options to a server that runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rich.console import Console

from reason.backends.base import Backend
from reason.config import Values, build
from reason.errors import UsageError
from reason.ledger import Budget
from reason.question import Prepare
from reason.serve.access import VARIABLE, read_keys
from reason.serve.limits import Limits
from reason.serve.server import serve
from reason.serve.service import PLAIN, Service
from reason.serve_keys import Serve
from reason.session import connected, run, terminal

LOCAL = ("127.0.0.1", "::1", "localhost")
Check = Callable[[str, Mapping[str, Any]], object]
"""Raises UsageError for a method that does not exist, or has no such knobs."""


def serve_command(
    asked: Serve, tables: Values, prepare: Prepare, methods: Sequence[str], check: Check
) -> int:
    """Connect the models and serve them until a signal comes; the exit code."""
    service = service_of(asked, tables, prepare, methods, check)
    console, told = terminal(), Console(stderr=True)
    if asked.host not in LOCAL and not service.keys:
        told.print(
            f"{asked.host} is open to others, without a key: see --api-keys, or {VARIABLE}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    service.models = connected(asked.backend, tables, console)

    async def work() -> int:
        return await serve(
            service,
            asked.host,
            asked.port,
            lambda line: console.print(f"serving {line}", markup=False, soft_wrap=True),
        )

    return run(work(), service.models)


def service_of(
    asked: Serve,
    tables: Values,
    prepare: Prepare,
    methods: Sequence[str],
    check: Check,
    models: Mapping[str, Backend] | None = None,
) -> Service:
    """What these options describe. Raises UsageError for what they should not be."""
    asked.check()
    own = {field.name for field in fields(Serve)} | {"backends", "budget", "methods"}
    knobs = {name: value for name, value in tables.items() if name not in own}
    of_methods = tables.get("methods", {})
    for name, table in {"budget": tables.get("budget", {}), "methods": of_methods}.items():
        if not isinstance(table, Mapping):
            raise UsageError(f"{name} has keys of its own: give {name}.KEY=VALUE, not {table!r}")
    check(asked.controller or PLAIN, knobs)
    for name, table in of_methods.items():
        if not isinstance(table, Mapping):
            raise UsageError(f"give methods.{name}.KEY=VALUE, not {table!r}")
        check(name, table)
    limits = Limits(Budget(asked.total_tokens, threads=asked.threads, seconds=asked.seconds))
    budget = limits.allowed(build(Budget, tables.get("budget", {}), at="budget."))
    return Service(
        models or {},
        prepare,
        tuple(methods),
        asked.model,
        asked.controller,
        knobs,
        of_methods,
        read_keys(asked.api_keys),
        replace(limits, budget=budget, requests=asked.requests, body=asked.body),
    )
