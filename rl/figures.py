"""What is told of rollouts while training."""

from collections.abc import Sequence
from statistics import fmean

from rl.rollouts import Rollout


def figures_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over some rollouts, by the names that logs give them.

    Shares of those that were right, in which a model failed, and that said nothing; threads below
    the root; tokens of the critical path and of all threads.
    """
    runs = [rollout.run for rollout in rollouts]
    return {
        "rollout/correct": fmean(rollout.correct for rollout in rollouts),
        "rollout/children": fmean(run.ledger.threads - 1 for run in runs),
        "rollout/critical_path": fmean(
            run.tree.critical_path if len(run.tree) else 0 for run in runs
        ),
        "rollout/total_tokens": fmean(run.ledger.total_tokens for run in runs),
        "rollout/failed": fmean(rollout.failed for rollout in rollouts),
        "rollout/silent": fmean(not rollout.requests for rollout in rollouts),
    }
