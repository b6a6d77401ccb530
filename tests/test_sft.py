"""Training the Countdown model: the fast forward, the data, exact resume, and the result."""

import io
import json
import re
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from reason.errors import TrainingError, UsageError
from rl.batches import IGNORE, block, buckets
from rl.fast_llama import FUSED_FROM, FastLlama
from rl.sft import Recipe, Shape, Stage, Training, new_model, train
from rl.traces import Mixture, examples
from rl.vocabulary import ID, VOCABULARY

SMALL = Shape(hidden=32, layers=2, intermediate=48, head=16, context=1024)
QUIET = Console(quiet=True)


def recipe(**changes: object) -> Recipe:
    stages = (
        Stage("children", 1, 0.01, 1e-3, Mixture(root=False), warmup=2),
        Stage("mixed", 2, 0.01, 1e-3, Mixture(serial=0.5), warmup=2),
    )
    plain = Recipe(stages, SMALL, batch=480, block=3, compile=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "length"), [(5, 24), (2, 160), (1, FUSED_FROM + 40)])
def test_the_fast_forward_is_the_models_own(rows: int, length: int) -> None:
    model = new_model(SMALL, 0)
    inputs = torch.randint(0, len(ID), (rows, length), generator=torch.Generator().manual_seed(1))
    labels = inputs.roll(-1, 1).clone()
    labels[:, : length // 3] = IGNORE
    logits = model(input_ids=inputs).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    loss = FastLlama(model, torch.float32, compiled=False).loss(inputs, labels)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-6)


def test_batches_hold_examples_and_train_only_what_is_written() -> None:
    mixture = Mixture(serial=0.5)
    pairs = {
        (" ".join(e.context), " ".join(e.written)) for e in islice(examples(mixture, "x"), 2000)
    }
    for batch in block(mixture, 480, 8, "x"):
        assert batch.inputs.shape == batch.labels.shape
        assert batch.inputs.size == 480 and batch.inputs.shape[1] in buckets(480)
        for ids, labels in zip(batch.inputs, batch.labels, strict=True):
            trained = np.flatnonzero(labels != IGNORE)
            assert (np.diff(trained) == 1).all()
            context = " ".join(VOCABULARY[i] for i in ids[: trained[0] + 1])
            assert (context, " ".join(VOCABULARY[i] for i in labels[trained])) in pairs
            assert (ids[trained[1:]] == labels[trained[:-1]]).all()


def test_a_block_depends_on_its_seed_alone() -> None:
    mixture = Mixture(serial=0.5)
    first, again, other = (list(block(mixture, 480, 4, seed)) for seed in ("a", "a", "b"))
    assert all((x.inputs == y.inputs).all() for x, y in zip(first, again, strict=True))
    assert any(
        x.inputs.shape != y.inputs.shape or (x.inputs != y.inputs).any()
        for x, y in zip(first, other, strict=True)
    )


def weights(run: Training) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.model.named_parameters()}


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_stopped_run_goes_on_as_if_it_never_was(tmp_path: Path, stopped_after: int) -> None:
    whole = Training(recipe(), tmp_path / "whole")
    for number, stage, before in whole.steps():
        whole.run_block(number, stage, before)
    part = Training(recipe(), tmp_path / "part")
    for number, stage, before in islice(part.steps(), stopped_after):
        part.save({"loss": part.run_block(number, stage, before)})
    (tmp_path / "part" / "partial" / "state").write_bytes(b"cut short")
    resumed = Training(recipe(), tmp_path / "part")
    assert resumed.done == stopped_after
    for number, stage, before in resumed.steps():
        resumed.run_block(number, stage, before)
    assert resumed.tokens == whole.tokens
    expected = weights(whole)
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, expected[name]), name
    start = weights(Training(recipe(), tmp_path / "new"))
    assert not torch.equal(start["model.embed_tokens.weight"], weight)


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    run = Training(recipe(), tmp_path)
    number, stage, before = next(run.steps())
    run.save({"loss": run.run_block(number, stage, before)})
    with pytest.raises(UsageError, match=r"holds a run whose batch, seed differ"):
        Training(recipe(seed=1, batch=960), tmp_path)


def test_a_terminal_is_told_what_goes_on_and_for_how_long(tmp_path: Path) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    train(recipe(block=20), tmp_path, terminal)
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert text.startswith(f"3 blocks of 20 steps into {tmp_path}")
    assert re.search(r"first step .*-:--:--", text) and re.search(r"mixed  loss .*0:00:00", text)
    again = Console(file=io.StringIO(), width=120)
    train(recipe(block=20), tmp_path, again)
    assert isinstance(again.file, io.StringIO)
    assert again.file.getvalue().startswith(f"3 blocks of 20 steps into {tmp_path}, 3 done")


def test_a_folder_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file/run: Not a directory"):
        train(recipe(), tmp_path / "file" / "run", QUIET)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    run = Training(recipe(), tmp_path)
    steps = run.steps()
    number, stage, before = next(steps)
    run.save({"loss": run.run_block(number, stage, before)})
    with torch.no_grad():
        run.model.model.norm.weight.fill_(float("nan"))
    number, stage, before = next(steps)
    with pytest.raises(TrainingError, match="the loss became nan in block 1, stage mixed"):
        run.run_block(number, stage, before)
    assert all(w.isfinite().all() for w in weights(Training(recipe(), tmp_path)).values())


def test_the_result_loads_as_any_checkpoint_does(tmp_path: Path) -> None:
    train(recipe(), tmp_path, QUIET)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16 and model.config.reason_grammar == "countdown"
    text = "<bos> <par> 24 3 5 7 8 ; 0 <go>"
    assert tokenizer(text)["input_ids"] == [ID[word] for word in text.split()]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (model.config.bos_token_id, model.config.eos_token_id) == (ID["<bos>"], ID["<eos>"])
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["block"], row["stage"]) for row in rows] == [
        (0, "children"),
        (1, "mixed"),
        (2, "mixed"),
    ]
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress["done"] == 3
    assert progress["recipe"] == json.loads(json.dumps(asdict(recipe())))
