"""What a server has: its models and methods, and the runs that are going on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reason.backends.base import Backend
from reason.config import merge
from reason.question import Prepare
from reason.serve.fault import Fault
from reason.serve.job import Job
from reason.serve.limits import Limits
from reason.serve.metrics import Metrics

PLAIN = "single"
"""The method of a model that is asked for by its name alone."""


@dataclass(slots=True)
class Service:
    """Shared by all requests."""

    models: Mapping[str, Backend]
    prepare: Prepare
    methods: Sequence[str]
    """Names of those there are."""
    name: str = ""
    """What the model is called; without it, as its backend calls it."""
    controller: str = ""
    """The method of the model's name alone; without it the model is asked what a client asked."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of that method, as it is configured."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Knobs of methods by name."""
    keys: frozenset[bytes] = frozenset()
    """Digests of the keys that open it; without any, it is open."""
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    runs: dict[str, Job] = field(default_factory=dict)
    """Those that are going on, by their ids."""
    closing: bool = False
    """Whether the server is about to end."""

    @property
    def model(self) -> str:
        """What clients call the model."""
        told = self.models["policy"].info.model
        return self.name or (Path(told).name if Path(told).is_absolute() else told)

    @property
    def served(self) -> dict[str, str | None]:
        """Everything that may be asked for as a model, and the method it means."""
        name = self.model
        joined = {f"{name}+{method}": method for method in self.methods}
        return {name: None, **joined, **{method: method for method in self.methods}}

    def method_of(self, model: str) -> str | None:
        """The method that this name asks for, if it names one. Raises Fault for another model."""
        served = self.served
        if model not in served:
            raise Fault(
                404,
                f"there is no model {model!r}; there is {self.model}, {self.model}+METHOD and "
                f"METHOD, with METHOD one of {', '.join(self.methods)}",
                param="model",
                code="model_not_found",
            )
        return served[model]

    def settings(self, method: str | None) -> dict[str, Any]:
        """Name and knobs of a method as the server's configuration has them."""
        if method is None and not self.controller:
            # Nothing is added to what the client says, unless the model knows no other words.
            bare = {} if self.models["policy"].info.grammar else {"syntax": "plain"}
            own = merge(merge(bare, self.tables.get(PLAIN, {})), self.knobs)
            return {**own, "controller": PLAIN}
        chosen = method or self.controller
        mine = self.knobs if chosen == self.controller else {}
        return {**merge(self.tables.get(chosen, {}), mine), "controller": chosen}

    async def end(self) -> None:
        """Stop all that is going on, and take nothing more."""
        self.closing = True
        await asyncio.gather(*(job.stop(self.ended()) for job in list(self.runs.values())))

    def ended(self) -> Fault:
        """What whoever comes then is told."""
        return Fault(503, "the server is shutting down", code="shutting_down")
