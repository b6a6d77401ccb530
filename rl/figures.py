"""What is told of rollouts while training."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from accelerate.utils import gather_object

from rl.rollouts import Rollout

Facts = dict[str, float]
"""Of one rollout, by the names that logs give their means."""


def facts_of(rollout: Rollout, by_method: bool = False) -> Facts:
    """Whether it was right, a model failed in it, it said nothing and came to no answer; threads
    below the root; tokens of the critical path and of all threads."""
    run, tree = rollout.run, rollout.run.tree
    facts: Facts = {
        "rollout/correct": rollout.correct,
        "rollout/children": run.ledger.threads - 1,
        "rollout/critical_path": tree.critical_path if len(tree) else 0,
        "rollout/total_tokens": run.ledger.total_tokens,
        "rollout/failed": rollout.failed,
        "rollout/silent": not rollout.requests,
        "rollout/unanswered": run.result is None or not run.result.answer,
    }
    if by_method:
        facts[f"rollout/correct/{run.controller['name']}"] = rollout.correct
    return facts


def means(facts: Sequence[Facts]) -> dict[str, float]:
    """Over the rollouts that have each."""
    names = dict.fromkeys(name for fact in facts for name in fact)
    return {name: fmean(fact[name] for fact in facts if name in fact) for name in names}


def gathered(values: Sequence[Any]) -> list[Any]:
    """Those of all processes that train, each of which calls it."""
    found: list[Any] = gather_object([*values])
    return found
