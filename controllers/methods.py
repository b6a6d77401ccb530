"""Every method by the name a user gives it, and what fits it to a model."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

from reason.backends.base import Info
from reason.run import Controller, check_needs, within
from reason.settings import choose

METHODS = {
    "apr": "controllers.apr:AdaptiveParallel",
    "threadweaver": "controllers.threadweaver:ThreadWeaver",
    "pdr": "controllers.pdr:ParallelDistillRefine",
    "sr": "controllers.sequential_refine:SequentialRefine",
    "atts": "controllers.atts:AsyncScaling",
    "single": "controllers.single:Single",
    "self_consistency": "controllers.self_consistency:SelfConsistency",
    "best_of_n": "controllers.best_of_n:BestOfN",
    "budget_forcing": "controllers.budget_forcing:BudgetForcing",
    "adaptive_consistency": "controllers.stability:AdaptiveConsistency",
    "confidence": "controllers.confidence:Confidence",
    "beam": "controllers.beam:Beam",
    "tournament": "controllers.tournament:Tournament",
    "ape": "controllers.ape:ParallelEncoding",
}


def method_named(name: str) -> type[Controller]:
    """The class of that name. Raises UsageError naming those that exist."""
    module, _, attribute = choose("controller", name, METHODS).partition(":")
    found: type[Controller] = getattr(import_module(module), attribute)
    return found


def fitted(
    method: Controller, tables: Mapping[str, Any], info: Info, scorers: Iterable[str]
) -> Controller:
    """The method in the grammar of the model, unless another was asked for; its scorer exists. So
    do those inside it, whose grammar is its own unless they were given one.

    `tables` is what was asked for. Raises UsageError for what the method needs and is not there.
    """
    from controllers.attempt import Attempting
    from controllers.syntax import SYNTAXES

    check_needs(method, info)
    scorers = tuple(scorers)
    knobs = {field.name: getattr(method, field.name) for field in fields(method)}
    if "scorer" in knobs:
        choose("scorer", knobs["scorer"], dict.fromkeys(scorers))
    if "syntax" in knobs:
        syntax = knobs["syntax"] if "syntax" in tables else info.grammar or "tags"
        grammar = choose("syntax", syntax, SYNTAXES)
        method = replace(method, syntax=syntax)
        if isinstance(method, Attempting):
            method.check_grammar(grammar)
    for name, inner in within(method).items():
        below = tables.get(name, {})
        if "syntax" in knobs and "syntax" in inner.__dataclass_fields__ and "syntax" not in below:
            inner, below = replace(inner, syntax=syntax), {**below, "syntax": syntax}
        method = replace(method, **{name: fitted(inner, below, info, scorers)})
    return method
