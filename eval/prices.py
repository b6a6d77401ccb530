"""What tokens cost: a table of prices by model, in TOML.

currency = "USD"                    # any name; USD if there is none

[models."Qwen/Qwen3-8B"]            # as in config.json, or the last part of it
prompt = 0.10                       # for a million tokens of context that was sent
cached = 0.02                       # of those, what the prefix cache answered; else as prompt
sampled = 0.40
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from eval.samples import Sample
from eval.trees import Tree
from reason.config import Values, build, read_toml
from reason.errors import UsageError
from reason.events import Opened, Tokens

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Of a million tokens of one model."""

    prompt: float
    sampled: float
    cached: float | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "sampled", "cached"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more for a million tokens, got {value}")

    def of(self, prompt: int, cached: int, sampled: int) -> float:
        """What these tokens cost; `cached` are among those of the prompt."""
        for_cached = self.prompt if self.cached is None else self.cached
        spent = (prompt - cached) * self.prompt + cached * for_cached + sampled * self.sampled
        return spent / MILLION


@dataclass(frozen=True)
class Prices:
    """A price table, and the file that it is from."""

    path: Path
    models: Mapping[str, Price]
    currency: str = "USD"

    def of(self, model: str) -> Price:
        """Of that model. Raises UsageError naming those that have a price."""
        for name in (model, model.rstrip("/").rpartition("/")[2]):
            if name in self.models:
                return self.models[name]
        raise UsageError(
            f"{self.path} has no price for the model {model!r}; it has: {', '.join(self.models)}. "
            f"Add a table [models.{model!r}] with prompt, cached and sampled"
        )


def read_prices(path: Path) -> Prices:
    """The price table of a file. Raises UsageError for anything else."""
    tables = read_toml(path)
    try:
        return _prices(path, tables)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _prices(path: Path, tables: Values) -> Prices:
    table, models = build(_File, tables), {}
    if not table.models:
        raise UsageError('there are no prices: write [models."NAME"] with prompt and sampled')
    for name, values in table.models.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"models.{name} must be a table of prices, got {values!r}")
        models[name] = build(Price, values, at=f"models.{name}.")
    return Prices(path, models, table.currency)


@dataclass(frozen=True)
class _File:
    currency: str = "USD"
    models: dict[str, object] = field(default_factory=dict)


def money(
    rows: Iterable[Sample], models: Mapping[str, str], prices: Prices, trees: Iterable[Tree] = ()
) -> float | None:
    """What the runs cost on these models by role; None where rows alone do not tell.

    A row counts the tokens of all models together. Where these have different prices, they are
    told apart by the trees, if every row has one.
    """
    by_role = {role: prices.of(model) for role, model in models.items()}
    rows = list(rows)
    if len(set(by_role.values())) == 1:
        (price,) = set(by_role.values())
        return sum(price.of(r.prompt_tokens, r.cached_tokens, r.total_tokens) for r in rows)
    wanted, spent = {row.key for row in rows}, 0.0
    for tree in trees:
        if tree.key in wanted:
            wanted.remove(tree.key)
            try:
                spent += _spent(tree, by_role)
            except KeyError as error:
                raise UsageError(
                    f"the tree of {tree.id!r}, repeat {tree.repeat}, speaks of {error}, which is "
                    "no thread or model of it; remove its line from trees.jsonl"
                ) from error
    return None if wanted else spent


def _spent(tree: Tree, by_role: Mapping[str, Price]) -> float:
    roles = {event.thread: event.model for event in tree.events if isinstance(event, Opened)}
    return sum(
        by_role[roles[event.thread]].of(event.prompt_tokens, event.cached_tokens, len(event.ids))
        for event in tree.events
        if isinstance(event, Tokens) and event.origin == "sampled"
    )
