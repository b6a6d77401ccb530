"""What a recipe may say of TRL's own keys, checked before anything is trained."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
from trl import GRPOConfig, SFTConfig

from reason.errors import UsageError
from rl.trl_config import CHOICES, settings
from tests.console import reason

CONFIGS = {cls.__name__: cls for cls in (GRPOConfig, SFTConfig)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"loss_type": "foo"},
            "grpo.loss_type must be one of grpo, dr_grpo, dapo, bnpo, cispo, sapo, luspo, vespo, "
            "got 'foo'",
        ),
        (
            {"scale_rewards": "foo"},
            "grpo.scale_rewards must be one of group, batch, none, true, false, got 'foo'",
        ),
        (
            {"importance_sampling_level": "step"},
            "grpo.importance_sampling_level must be one of token, sequence, got 'step'",
        ),
        (
            {"multi_objective_aggregation": 3},
            "grpo.multi_objective_aggregation must be one of sum_then_normalize, "
            "normalize_then_sum, got 3",
        ),
        (
            {"gradient_checkpointing": "often"},
            "grpo.gradient_checkpointing must be true or false, got 'often'",
        ),
        ({"learning_rate": True}, "grpo.learning_rate must be a number, got True"),
        ({"beta": "inf"}, "grpo.beta must be a number, got 'inf'"),
    ],
)
def test_a_value_that_no_training_takes(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(GRPOConfig, table, {}, "grpo")
    assert str(caught.value) == message


def test_of_very_many_keys_those_like_it_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        settings(GRPOConfig, {"lr": 1e-5}, {}, "grpo")
    count = len(fields(GRPOConfig))
    assert str(caught.value) == (
        f"unknown key grpo.lr; of {count} keys, lr_scheduler_kwargs, lr_scheduler_type are like "
        "it; python -m pydoc trl.GRPOConfig describes all"
    )
    with pytest.raises(UsageError, match=r"learning_rte \(did you mean learning_rate\?\); of "):
        settings(GRPOConfig, {"learning_rte": 1e-5}, {}, "grpo")
    with pytest.raises(UsageError, match=f"zzz; of {count} keys, none are like it; python"):
        settings(GRPOConfig, {"zzz": 1e-5}, {}, "grpo")


def test_words_of_the_command_line_are_what_trl_takes() -> None:
    said = {
        "loss_type": "dr_grpo",
        "scale_rewards": "false",
        "importance_sampling_level": "Sequence",
        "learning_rate": "1e-5",
        "max_steps": "4",
        "log_completions": "true",
        "epsilon_high": "0.28",
    }
    found = settings(GRPOConfig, said, {}, "grpo")
    assert found == {
        "loss_type": "dr_grpo",
        "scale_rewards": False,
        "importance_sampling_level": "sequence",
        "learning_rate": 1e-5,
        "max_steps": 4,
        "log_completions": True,
        "epsilon_high": 0.28,
    }
    args = GRPOConfig(
        output_dir="x", use_cpu=True, bf16=False, scale_rewards=found["scale_rewards"]
    )
    assert args.scale_rewards == "none"
    assert settings(GRPOConfig, {"scale_rewards": True}, {}, "grpo") == {"scale_rewards": True}
    assert settings(SFTConfig, {"loss_type": "dft"}, {}, "sft") == {"loss_type": "dft"}


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, keys in CHOICES.items() for key in keys]
)
def test_the_words_are_those_that_trl_documents(name: str, key: str) -> None:
    """Of this version of TRL: a new one may take more."""
    told = re.search(rf"\n +{key} \(`.*?(?=\n +\w+ \(`)", CONFIGS[name].__doc__ or "", re.DOTALL)
    assert told is not None
    words = re.findall(r'`"(\w+)"`', told[0])
    assert {*words} == {word for word in CHOICES[name][key] if isinstance(word, str)}


def test_the_command_refuses_them_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "x"
    done = reason("train", "grpo", "apr_countdown", "grpo.loss_type=foo", "--out", str(out))
    assert done.exit_code == 2 and "grpo.loss_type must be one of grpo, dr_grpo" in done.stderr
    assert not out.exists()
