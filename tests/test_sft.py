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
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from reason.errors import BackendError, TrainingError, UsageError
from rl.batches import IGNORE, block, buckets
from rl.checkpoint import locked
from rl.examples import examples
from rl.fast_llama import FUSED_FROM, FastLlama
from rl.model import export, new_model
from rl.recipe import Mixture, Recipe, Shape, Stage
from rl.sft import Training, train
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


def go_on(run: Training, blocks: int | None = None, save: bool = False) -> Training:
    """The same run, some blocks later, or at its end."""
    for number, stage, before in islice(run.steps(), blocks):
        loss = run.run_block(number, stage, before)
        if save:
            run.save(loss)
    return run


def same(one: Training, other: Training) -> bool:
    return all(torch.equal(w, weights(other)[name]) for name, w in weights(one).items())


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_stopped_run_goes_on_as_if_it_never_was(tmp_path: Path, stopped_after: int) -> None:
    whole = go_on(Training(recipe(), tmp_path / "whole"))
    go_on(Training(recipe(), tmp_path / "part"), stopped_after, save=True)
    (tmp_path / "part" / "partial.safetensors").write_bytes(b"cut short")
    resumed = Training(recipe(), tmp_path / "part")
    assert resumed.done == stopped_after
    assert not same(resumed, whole)
    go_on(resumed)
    assert resumed.tokens == whole.tokens
    assert same(resumed, whole)


@pytest.mark.parametrize(
    ("lost", "matters"), [("optimizer/", True), ("model/", True), ("-", False)]
)
def test_of_a_checkpoint_everything_is_needed(tmp_path: Path, lost: str, matters: bool) -> None:
    """What the test above can see: a run that lost a part of its state ends elsewhere."""
    whole = go_on(Training(recipe(), tmp_path / "whole"))
    go_on(Training(recipe(), tmp_path / "part"), 2, save=True)
    file = tmp_path / "part" / "state-2.safetensors"
    state = load_file(file)
    assert any(name.startswith("model/") for name in state)
    assert any(name.startswith("optimizer/") for name in state)
    for name in state:
        if name.startswith(lost):
            state[name].zero_()
    save_file(state, file)
    assert same(go_on(Training(recipe(), tmp_path / "part")), whole) != matters


def test_a_run_that_has_begun_needs_its_start_no_more(tmp_path: Path) -> None:
    export(new_model(SMALL, 7), tmp_path / "start")
    begun = recipe(start=str(tmp_path / "start"))
    first = Training(begun, tmp_path / "run")
    stored = {n: p.to(torch.bfloat16).float() for n, p in new_model(SMALL, 7).named_parameters()}
    assert all(torch.equal(w, stored[name]) for name, w in weights(first).items())
    go_on(first, 1, save=True)
    (tmp_path / "start").rename(tmp_path / "elsewhere")
    assert same(Training(begun, tmp_path / "run"), first)
    with pytest.raises(UsageError, match="holds a run whose start differ"):
        Training(recipe(start=str(tmp_path / "elsewhere")), tmp_path / "run")
    with pytest.raises(UsageError, match=r"start is .*start', but there is no such folder"):
        Training(begun, tmp_path / "other")


def test_a_start_must_be_a_whole_model_of_the_same_shape(tmp_path: Path) -> None:
    export(new_model(replace(SMALL, hidden=64, context=512), 0), tmp_path)
    with pytest.raises(UsageError) as caught:
        train(recipe(start=str(tmp_path)), tmp_path / "run", QUIET)
    assert str(caught.value) == (
        f"start is {str(tmp_path)!r}, a model with hidden_size 64 and not 32, num_attention_heads "
        "4 and not 2, num_key_value_heads 4 and not 2, max_position_embeddings 512 and not 1024"
    )
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(BackendError, match="cannot load a model from"):
        train(recipe(start=str(tmp_path)), tmp_path / "run", QUIET)


def test_two_do_not_train_into_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError) as caught:
        train(recipe(), tmp_path, QUIET)
    assert str(caught.value) == (
        f"another process is training into {tmp_path}: wait for it, or give another --out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    train(recipe(), tmp_path, QUIET)
    assert (tmp_path / "model").is_dir()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    run = go_on(Training(recipe(), tmp_path), 1, save=True)
    (tmp_path / "partial.safetensors").mkdir()
    with pytest.raises(TrainingError, match=r"cannot write a checkpoint into .*one before stands"):
        go_on(run, 1, save=True)
    assert Training(recipe(), tmp_path).done == 1


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("progress.json", r"progress.json is not (valid JSON|that of a training)"),
        ("state-1.safetensors", r"state-1.safetensors is damaged .*: give another --out"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"cut short"])
def test_a_damaged_checkpoint_is_named(
    tmp_path: Path, file: str, message: str, content: bytes
) -> None:
    go_on(Training(recipe(), tmp_path), 1, save=True)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        Training(recipe(), tmp_path)


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    go_on(Training(recipe(), tmp_path), 1, save=True)
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


def test_without_a_compiler_it_is_said_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/c++")
    with pytest.raises(UsageError, match=r"no C\+\+ compiler /no/such/c\+\+.*give compile=false"):
        train(recipe(compile=True), tmp_path, QUIET)
    train(recipe(), tmp_path, QUIET)


def test_a_folder_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file/run: Not a directory"):
        train(recipe(), tmp_path / "file" / "run", QUIET)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    run = go_on(Training(recipe(), tmp_path), 1, save=True)
    with torch.no_grad():
        run.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError) as caught:
        go_on(run, 1)
    assert str(caught.value) == (
        f"the loss became nan in block 1, stage mixed; the checkpoint before is kept in {tmp_path}"
        "; give lower learning rates and another --out"
    )
    assert all(w.isfinite().all() for w in weights(Training(recipe(), tmp_path)).values())


def test_weights_that_are_no_numbers_do_not_become_a_checkpoint(tmp_path: Path) -> None:
    run = Training(recipe(block=1), tmp_path)

    def overflow() -> None:
        """After the last step, whose loss was still a number."""
        with torch.no_grad():
            run.model.model.norm.weight[0] = float("inf")

    number, stage, before = next(run.steps())
    with pytest.raises(TrainingError) as caught:
        run.run_block(number, stage, before, overflow)
    assert str(caught.value) == (
        "a weight became no number in block 0, stage children; give lower learning rates and "
        "another --out"
    )


def test_a_stage_may_have_any_name(tmp_path: Path) -> None:
    stages = tuple(replace(stage, name="[/bold]") for stage in recipe().stage)
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        train(recipe(stage=stages), tmp_path / str(terminal), console)
        assert isinstance(console.file, io.StringIO)
        assert "[/bold]" in console.file.getvalue()


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
