"""What runs of TRL's trainers share, on the model that ships."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")
from datasets import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from rl.trl_run import begin


def trained(folder: Path, steps: int, network: Any, resume: bool) -> Any:
    """The model after so many steps on the same few tokens, with a checkpoint after each."""
    ids = torch.randint(2, 200, (8, 12), generator=torch.Generator().manual_seed(0)).tolist()
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        lr_scheduler_type="constant",
        save_steps=1,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        network, args, train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids})
    )
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer.model


@pytest.mark.parametrize("known", [True, False])
def test_weights_that_are_tied_are_not_missed_on_going_on(
    known: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("transformers")
    trained(tmp_path, 1, begin("countdown-apr")[0], resume=False)
    network, _ = begin("countdown-apr")
    if not known:  # negative control: as transformers has it
        network._keys_to_ignore_on_save = set()
    logger.addHandler(caplog.handler)
    try:
        done = trained(tmp_path, 2, network, resume=True)
    finally:
        logger.removeHandler(caplog.handler)
    missed = [one.getMessage() for one in caplog.records if "missing keys" in one.getMessage()]
    assert bool(missed) != known
    assert done.lm_head.weight is done.model.embed_tokens.weight
    whole = trained(tmp_path / "whole", 2, begin("countdown-apr")[0], resume=False)
    for (name, one), (_, other) in zip(
        done.named_parameters(), whole.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert torch.equal(saved.lm_head.weight, done.lm_head.weight)
