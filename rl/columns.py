"""Columns of TRL's batch, as rollouts fill them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rl.rollouts import Rollout


def prompt_of(rollout: Rollout) -> list[int]:
    """The root's prompt."""
    tree = rollout.run.tree
    segments = tree.root.segments if len(tree) else []
    return [i for segment in segments if segment.origin == "prompt" for i in segment.ids]


def spoken(rollout: Rollout, mask: bool) -> tuple[list[int], list[float], list[int]]:
    """Sampled ids, their log-probabilities, and 1 for each that is trained on."""
    ids, logprobs, trained = list[int](), list[float](), list[int]()
    for request in rollout.requests:
        ids += request.sampled
        logprobs += request.logprobs
        trained += [int(not (mask and request.truncated))] * len(request.sampled)
    return ids, logprobs, trained


def by_sequence(rollouts: Sequence[Rollout], shape: torch.Size) -> Tensor:
    """[B, T] weights of mean 1 over a rollout, the same sum for each of its requests."""
    weights = torch.ones(shape)
    for row, rollout in enumerate(rollouts):
        sizes = torch.tensor([len(request.sampled) for request in rollout.requests])
        if len(sizes):
            each = sizes.sum() / (sizes * len(sizes))
            weights[row, : int(sizes.sum())] = each.repeat_interleave(sizes)
    return weights
