"""GRPO whose unit is a rollout of any method: TRL's trainer on packed tries.

A row of TRL's batch is a rollout, and its "completion" all that the policy sampled in it, request
after request. So TRL's baselines, losses, clipping, KL, entropy, logging and resuming are its own,
and three methods are ours: where completions come from, what is weighed, and how log-probabilities
are computed, every token once.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from torch.nn import functional as F
from trl import GRPOTrainer

from reason.errors import UsageError
from rl.columns import by_sequence, prompt_of, spoken
from rl.figures import facts_of, gathered, means
from rl.grpo_log import UNSAID
from rl.health import Health
from rl.layouts import Layout, pack, together
from rl.masks import arguments, guard, implementation, register
from rl.requests import Request
from rl.rewards import Reward
from rl.rollouts import Rollout, Rollouts
from rl.sampler import Sampler
from rl.tree_options import TreeOptions

DIVIDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
"""Ways of training of which each forward pass is a meeting of all processes."""


class TreeGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """`rollouts` answer the prompts of `train_dataset`, whose column is "prompt"; `sampler` gives
    their model the weights of each step. `rewards` are weighed functions of a rollout."""

    def __init__(
        self,
        *args: Any,
        rollouts: Rollouts,
        sampler: Sampler,
        rewards: Mapping[str, tuple[Reward, float]],
        options: TreeOptions | None = None,
        **more: Any,
    ) -> None:
        register()
        self.rollouts, self.sampler = rollouts, sampler
        self.options = options or TreeOptions()
        self._active: list[Rollout] = []
        self._logps_now: Tensor | None = None
        """Of the forward that the loss is made of."""
        self._sent = -1
        self._calls: Counter[tuple[str, int]] = Counter()
        functions = [_for_trl(name, reward) for name, (reward, _) in rewards.items()]
        super().__init__(
            *args, reward_funcs=functions, rollout_func=TreeGRPOTrainer._rolled_out, **more
        )
        if self.args.temperature != 1.0:
            raise UsageError(
                f"temperature must be 1, at which rollouts are sampled, got {self.args.temperature}"
            )
        logging.getLogger("trl.trainer.grpo_trainer").addFilter(UNSAID)
        self.health = Health(Path(self.args.output_dir).parent, self.options.patience)
        weights = [weight for _, weight in rewards.values()]
        if not (any(weights) or self.options.sft_coef):
            self.health.warn("every reward weighs 0: no rollout is better than another")
        self.reward_weights = torch.tensor(weights, dtype=torch.float32)
        chosen = self.options.attention or ("flex_attention" if self._on_gpu else "tree")
        for model in (self.model, self.ref_model):
            if model is not None:
                unwrapped = self.accelerator.unwrap_model(model)
                unwrapped.set_attn_implementation(chosen)
                guard(unwrapped)

    @property
    def _on_gpu(self) -> bool:
        return bool(self.accelerator.device.type == "cuda")

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    # Where completions come from.

    def send_weights(self) -> None:
        """Let the sampler have those of this step, once."""
        if self._sent != self.state.global_step:
            self._sent = self.state.global_step
            model = self.accelerator.unwrap_model(self.model)
            self.rollouts.do(self.sampler.send(model, self._sent))
            self.accelerator.wait_for_everyone()

    @staticmethod
    def _rolled_out(prompts: list[Any], trainer: "TreeGRPOTrainer") -> dict[str, Any]:
        """One rollout for each prompt, as TRL's `rollout_func` returns them."""
        return trainer._roll_out(prompts)

    def _roll_out(self, prompts: list[Any]) -> dict[str, Any]:
        step = self.state.global_step
        self.send_weights()
        call = self._calls[self._mode, step]  # not TRL's count, which begins anew on resuming
        self._calls[self._mode, step] += 1
        place = f"{self.args.seed}/{self._mode}/{step}/{call}/{self.accelerator.process_index}"
        began = perf_counter()
        self._active = self.rollouts.run(prompts, place, self._alternating(len(prompts)))
        self._count(self._active, perf_counter() - began)
        idle = self._tokenizer.eos_token_id
        said = [spoken(rollout, self.options.mask_truncated) for rollout in self._active]
        return {
            "prompt_ids": [prompt_of(rollout) or [idle] for rollout in self._active],
            "completion_ids": [ids or [idle] for ids, _, _ in said],
            "logprobs": [logprobs or [0.0] for _, logprobs, _ in said],
            "env_mask": [mask or [0] for _, _, mask in said],
            "rollout": self._active,
        }

    def _alternating(self, count: int) -> list[bool]:
        """Of this process's prompts: every second group is for the other method."""
        if self.rollouts.alternate is None:
            return []
        size = self.num_generations if self.model.training else self.num_generations_eval
        first = self.accelerator.process_index * count
        return [(first + place) // size % 2 == 1 for place in range(count)]

    def _count(self, own: Sequence[Rollout], seconds: float) -> None:
        """Figures of the runs of all processes, which took so long, beside those that TRL keeps."""
        several = self.rollouts.alternate is not None
        facts = gathered([facts_of(rollout, several) for rollout in own])
        self.health.rollouts(facts, own)
        figures = means(facts)
        figures["perf/rollout_s"] = max(gathered([seconds]))
        tokens = figures["rollout/total_tokens"] * len(facts)
        figures["perf/rollout_tok_s"] = tokens / figures["perf/rollout_s"]
        for name, value in figures.items():
            self._metrics[self._mode][name].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        self.health.gradient(logs.get("grad_norm"), self.state.global_step)  # before it is saved

    # What is weighed.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        out["rollouts"] = self._active
        advantages = out["advantages"]
        shape = out["completion_ids"].shape
        weighed = advantages[:, None].expand(shape).clone()
        failed = torch.tensor([rollout.failed for rollout in self._active])
        weighed[failed.to(weighed.device)] = 0.0  # what a broken server did says nothing
        if self.options.weighting == "sequences":
            weighed = weighed * by_sequence(self._active, shape).to(weighed.device)
        if self.options.correction:
            weighed = weighed * self._corrected(out)
        out["advantages"] = weighed
        if self.options.sft_coef:
            right = [rollout.correct and bool(rollout.sampled) for rollout in self._active]
            out["imitated"] = self._shared_out(torch.tensor(right, dtype=torch.float32))
        return out

    def _shared_out(self, right: Tensor) -> Tensor:
        """[B] weights of mean 1 over all processes, the same for every rollout that was right."""
        right = right.to(self.accelerator.device)
        totals = torch.stack([right.sum(), torch.ones_like(right).sum()])
        count, rows = self.accelerator.reduce(totals, reduction="sum")
        shares: Tensor = right * rows / count.clamp(min=1.0)
        return shares

    def _corrected(self, out: dict[str, Any]) -> Tensor:
        """[B, T] importance weights of the trainer's probabilities over the sampler's."""
        trainer = out.get("old_per_token_logps")
        if trainer is None:
            with torch.no_grad():
                trainer = self._logps(self.model, self._active, out["completion_ids"].shape, False)[
                    0
                ]
        gap = trainer - out["sampling_per_token_logps"]
        mask = out["completion_mask"] * out["tool_mask"]
        ratio = gap.exp().clamp(max=self.options.correction)
        capped = gap.exp() > self.options.correction
        sums = torch.stack([(gap.abs() * mask).sum(), (capped * mask).sum(), mask.sum()])
        apart, over, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        found = self._metrics[self._mode]
        found["sampler/gap"].append(apart / max(count, 1))
        most = (gap.abs() * mask).max()
        found["sampler/gap_max"].append(self.accelerator.gather(most).max().item())
        found["sampler/capped"].append(over / max(count, 1))
        return torch.where(mask.bool(), ratio, torch.ones_like(ratio))

    def _imitation(self, inputs: dict[str, Any]) -> Tensor:
        """Minus the mean log-likelihood of a token of right rollouts, each weighing the same."""
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        assert self._logps_now is not None  # the loss was just made of them
        each = (self._logps_now * mask).sum(1) / mask.sum(1).clamp(min=1)
        term: Tensor = -(each * inputs["imitated"]).mean()
        self._metrics[self._mode]["sft_loss"].append(self.accelerator.gather(term).mean().item())
        parts = self.current_gradient_accumulation_steps if self.model.training else 1
        return term / parts

    # How log-probabilities are computed.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._active = inputs["rollouts"]
        loss: Tensor = super()._compute_loss(model, inputs)
        if self.options.sft_coef:
            loss = loss + self.options.sft_coef * self._imitation(inputs)
        self.health.loss(loss.item(), self.state.global_step, self._active)
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if compute_aux_loss:
            raise UsageError("packed tries are not trained with the balancing loss of experts")
        shape = torch.Size((len(input_ids), logits_to_keep))
        logps, entropies = self._logps(model, self._active, shape, compute_entropy)
        self._logps_now = logps if torch.is_grad_enabled() else None
        return logps, entropies, None

    def _logps(
        self, model: Any, rollouts: Sequence[Rollout], shape: torch.Size, entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """[B, T] log-probabilities of what was sampled, 0 behind the end, and entropies."""
        device = self.accelerator.device
        counts = [rollout.sampled for rollout in rollouts]
        rows = pack([r for rollout in rollouts for r in rollout.requests], self.options.row_tokens)
        idle = self._idle(len(rows))
        attention = implementation(self.accelerator.unwrap_model(model))
        logps, entropies = list[Tensor](), list[Tensor]()
        nothing = torch.zeros((), device=device)
        for row in (row.to(device) for row in [*rows, *idle]):
            with self.accelerator.autocast():
                out = model(
                    **arguments(row, attention, next(model.parameters()).dtype),
                    shift_labels=row.shift_labels[None],
                    fused_lm_head=True,
                )
            if len(logps) == len(rows):
                nothing = nothing + out.log_probs.sum() * 0.0
                continue
            logps.append(out.log_probs[0, row.source])
            if entropy:
                entropies.append(out.entropy[0, row.source])

        def spread(values: list[Tensor]) -> Tensor:
            if not rows:  # nobody said anything
                anchor = torch.stack([p.sum() for p in model.parameters()]).sum() * 0.0
                return torch.zeros(shape, device=device) + anchor
            parts = torch.split(together(rows, values), counts)
            return torch.stack([F.pad(part, (0, shape[1] - len(part))) for part in parts])

        return spread(logps) + nothing, spread(entropies) if entropy else None

    def _idle(self, count: int) -> list[Layout]:
        """Rows that count for nothing: where weights are divided, a process that went through the
        model less often than the others would keep them waiting."""
        if self.accelerator.distributed_type not in DIVIDED:
            return []
        counts = self.accelerator.gather(torch.tensor([count], device=self.accelerator.device))
        token = self._tokenizer.eos_token_id
        return pack([Request([token], [token])]) * (int(counts.max()) - count)


def _for_trl(name: str, reward: Reward) -> Any:
    def worth(rollout: list[Rollout], **_: Any) -> list[float | None]:
        return [None if one.failed else reward(one) for one in rollout]

    worth.__name__ = name
    return worth
