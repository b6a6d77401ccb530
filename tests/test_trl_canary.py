"""What of TRL is built on, as it is in the version that is supported: a release that changes any of
it fails here first, and says where."""

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
from trl import GRPOTrainer, SFTTrainer
from trl.experimental.async_grpo import AsyncGRPOTrainer, async_grpo_trainer, packing
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample
from trl.trainer import utils

SUPPORTED = "1.16"


def names(function: Any) -> str:
    """The parameters in their order, without what is said of them."""
    return " ".join(inspect.signature(function).parameters)


def test_the_version_is_the_one_that_is_supported() -> None:
    assert version("trl").startswith(f"{SUPPORTED}."), (
        f"reason is built on TRL {SUPPORTED}, and {version('trl')} is installed: look at what "
        "fails below, then raise the bound in pyproject.toml"
    )
    file = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    assert "trl>=1.16,<1.17" in extras["rl"]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (GRPOTrainer._generate_and_score_completions, "self inputs"),
        (GRPOTrainer._compute_loss, "self model inputs"),
        (
            GRPOTrainer._get_per_token_logps_and_entropies,
            "self model input_ids attention_mask logits_to_keep batch_size compute_entropy "
            "compute_aux_loss pixel_values image_grid_thw num_images pixel_attention_mask "
            "spatial_shapes num_tiles image_sizes token_type_ids mm_token_type_ids "
            "image_position_ids",
        ),
        (async_grpo_trainer.get_peak_flops_per_device, "accelerator dtype"),
        (async_grpo_trainer.RolloutWorkerProtocol.check_health, "self stale_after_s"),
        (async_grpo_trainer.RolloutWorkerProtocol.update_model_version, "self model_version"),
        (async_grpo_trainer.WeightTransferProtocol.send_weights, "self iterator"),
        (packing.TreeRow.add, "self sample"),
        (
            RolloutSample,
            "prompt completion input_ids completion_mask old_log_probs advantage model_version "
            "group_id metrics enqueued_at",
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_we_override_or_call_takes_what_it_took(function: Any, parameters: str) -> None:
    assert names(function) == parameters


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (GRPOTrainer, "model reward_funcs args train_dataset processing_class rollout_func"),
        (SFTTrainer, "model args train_dataset processing_class data_collator"),
        (
            AsyncGRPOTrainer,
            "model args train_dataset processing_class rollout_worker weight_transfer",
        ),
    ],
)
def test_trainers_take_what_we_give(cls: Any, parameters: str) -> None:
    assert set(parameters.split()) <= set(inspect.signature(cls.__init__).parameters)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        # Advantages of each token, the trainer's own probabilities, and lists in a batch.
        (GRPOTrainer._compute_loss, ["advantages.dim() == 1", "old_per_token_logps"]),
        (GRPOTrainer._generate_and_score_completions, ["sampling_per_token_logps", "tool_mask"]),
        (GRPOTrainer._prepare_inputs, ["shuffle_sequence_dict", "split_tensor_dict"]),
        (utils.add_fused_lm_head, ["shift_labels", "fused_lm_head", "log_probs", "entropy"]),
        (AsyncGRPOTrainer.__init__, ["TREE_ATTENTION", "register_tree_attention"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_we_rely_on_inside(function: Any, words: list[str]) -> None:
    source = inspect.getsource(function)
    assert [word for word in words if word not in source] == []


def test_what_we_read_of_a_trainer() -> None:
    source = inspect.getsource(GRPOTrainer)
    for name in (
        "_metrics",
        "_tokenizer",
        "reward_weights",
        "num_generations_eval",
        "current_gradient_accumulation_steps",
        "_step",
    ):
        assert f"self.{name}" in source, name
