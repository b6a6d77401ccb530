"""What training on packed tries adds to the options of TRL."""

from dataclasses import dataclass
from typing import Literal

Trained = Literal["all", "last"]


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How rollouts are weighed, corrected and packed."""

    weighting: Literal["tokens", "sequences"] = "tokens"
    """Whether every token of a rollout weighs the same, or every sequence, as in APR's training
    (with loss_type="grpo": the mean over sequences of the mean over their tokens)."""
    correction: float = 2.0
    """Cap of the importance weight of a token, trainer's over sampler's probability, which corrects
    for a sampler that computes otherwise (truncated importance sampling); 0 for none."""
    row_tokens: int = 16384
    """Tokens of a packed row."""
    attention: Literal["", "tree", "flex_attention", "sdpa", "eager"] = ""
    """What the model is set to; by default "tree", on a GPU "flex_attention"."""
    mask_truncated: bool = False
    """Whether what was cut off by its length or the budget is not trained on."""
    trained: Trained = "all"
    """Which requests of a rollout: every one, or only those of the thread that was opened last and
    of what it goes on from, as the attempt of PDR that refines: what led to it is data."""
    sft_coef: float = 0.0
    """Weight of the length-normalised log-likelihood of right rollouts beside the policy loss (PDR,
    Madaan et al. 2025, section 4.3: 0.1)."""
    patience: int = 5
    """Steps in a row of which every rollout failed, after which training ends."""

    def __post_init__(self) -> None:
        for name in ("row_tokens", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 <= self.sft_coef < float("inf"):
            raise ValueError(f"sft_coef must be 0 or more, got {self.sft_coef:g}")
        if self.correction and self.correction < 1:
            raise ValueError(f"correction must be 0, or 1 or more, got {self.correction:g}")
