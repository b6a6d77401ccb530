"""Imitation of whole runs: TRL's trainer on tries against plain forwards, and from evaluations."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reason.backends.hf_load import load_pair
from reason.errors import UsageError
from rl.tree_data import examples, requests_in
from rl.tree_sft import configuration, trainer_of
from tests.console import reason
from tests.rl_models import VOCABULARY, model, one_by_one


def rows(count: int, seed: int = 0) -> list[Any]:
    """Runs with threads, a join that reads them, and a child with a prompt of its own. What is said
    follows from the prompt, so that there is something to learn."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        asked = [rng.randrange(20, VOCABULARY) for _ in range(4)]
        outline = [2 + asked[0] % 9, 3]
        threads = [[11 + k, 11 + asked[k] % 8] for k in range(rng.randint(1, 3))]
        parts = [(asked, outline)]
        parts += [([*asked, *outline, 4, 5 + k], t) for k, t in enumerate(threads)]
        joined = [i for k, thread in enumerate(threads) for i in [4, 5 + k, *thread]]
        parts += [([*asked, *outline, *joined, 9], [10, 1]), ([8, *asked[:2]], [2 + asked[1] % 7])]
        found.append({"requests": [{"context": c, "sampled": s} for c, s in parts]})
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_pair("reason/models/countdown-apr", "float32", "cpu")[1]


def settled(folder: Path, **table: Any) -> Any:
    return configuration(folder, 0, "none", {"save_strategy": "no", **table})


@pytest.mark.parametrize("attention", ["tree", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_loss_and_gradients_are_those_of_plain_forwards(
    kind: str, attention: str, tmp_path: Path, tokenizer: Any
) -> None:
    data, network = rows(6), model(kind)
    trainer = trainer_of(network, tokenizer, data, settled(tmp_path), attention)
    batch = trainer.data_collator(data)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=None)
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in network.parameters()])
    network.zero_grad()
    every = [one_by_one(network, requests_in(row)) for row in data]
    plain = -torch.cat(every).mean()
    plain.backward()  # type: ignore[no-untyped-call]
    expected = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_it_learns(tmp_path: Path, tokenizer: Any) -> None:
    table = {"max_steps": 30, "learning_rate": 5e-3, "logging_steps": 1}
    args = settled(tmp_path, per_device_train_batch_size=8, **table)
    trainer = trainer_of(model("llama", initializer_range=0.05), tokenizer, rows(64), args)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]


def test_right_runs_of_an_evaluation_are_learnt_from(tmp_path: Path) -> None:
    out = tmp_path / "eval"
    settings = ("width=2", "sampling.temperature=1", "--limit", "12", "--out", str(out))
    assert reason("eval", "countdown3", *settings).exit_code == 0
    kept = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    right = sum(row["correct"] for row in kept)
    data = examples(out)
    assert 0 < right == len(data)
    total = sum(row["total_tokens"] for row in kept if row["correct"])
    assert sum(len(one["sampled"]) for row in data for one in row["requests"]) == total
    folder = tmp_path / "sft"
    words = ("train", "trees", str(out), "--out", str(folder))
    nobody = reason(*words, "--role", "nobody")
    assert nobody.exit_code == 2 and not folder.exists()
    assert nobody.stderr == (
        f"reason: no model of {out} had the role 'nobody': give --role policy\n"
    )
    done = reason(*words, "sft.max_steps=2")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{right} runs, into {folder}"
    assert [line.partition("  loss ")[0] for line in lines[1:3]] == ["1/2", "2/2"]
    assert lines[3:] == [f"the model is in {folder / 'model'}"]
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert (folder / "curves.png").stat().st_size > 1000
    assert load_pair(str(folder / "model"), "float32", "cpu")[1].get_vocab()
    assert reason(*words, "sft.max_steps=2").stdout == (
        f"finished before, at step 2: the model is in {folder / 'model'}\n"
    )
    other = reason(*words, "sft.max_steps=3")
    assert other.exit_code == 2 and "holds another training" in other.stderr


def test_going_on_gives_the_weights_of_a_run_that_was_not_stopped(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(24)))

    def train(folder: Path, steps: int) -> bytes:
        words = ["sft.per_device_train_batch_size=4", "sft.save_steps=2", f"sft.max_steps={steps}"]
        extra = ["sft.lr_scheduler_type=constant", "sft.logging_steps=1", "sft.learning_rate=1e-3"]
        done = reason("train", "trees", str(file), "--out", str(folder), *words, *extra)
        assert done.exit_code == 0, done.stderr
        return (folder / "model" / "model.safetensors").read_bytes()

    whole = train(tmp_path / "whole", 4)
    half = tmp_path / "half"
    assert train(half, 2) != whole
    config = json.loads((half / "config.json").read_text())
    config["sft"]["max_steps"] = 4  # as if it had been stopped half way
    (half / "config.json").write_text(json.dumps(config))
    shutil.rmtree(half / "model")
    assert train(half, 4) == whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "line 1: expected"),
        ('{"requests": [{"context": [], "sampled": [1]}]}', "has no context"),
        ('{"requests": [{"context": [1], "sampled": [-1]}]}', "integers from 0 on"),
        ('{"requests": [{"context": [1], "sampled": []}]}', "holds no run to learn from"),
        ("", "holds no run to learn from"),
    ],
)
def test_files_that_hold_no_runs(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(line + "\n" if line else "")
    with pytest.raises(UsageError, match=message):
        examples(file)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"packing": True}, "sft.packing is not for a recipe: rows are packed as tries"),
        ({"lr": 1}, "unknown key sft.lr"),
        (7, "sft has keys of its own"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, table: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configuration(tmp_path, 0, "none", table)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which runs?"),
        (["FILE"], "where to? give --out DIR"),
        (["FILE", "--out", "OUT"], "has the token 99999, and countdown-apr only 256"),
        (["FILE", "--out", "OUT", "sft.lr=1"], "unknown key sft.lr"),
        (["FILE", "--out", "OUT", "width=2"], "unknown key width"),
        (["FILE", "--out", "OUT", "--threads", "0"], "threads must be 1 or more, got 0"),
        (["nowhere.jsonl", "--out", "OUT"], "cannot read nowhere.jsonl"),
    ],
)
def test_commands_that_cannot_be(tmp_path: Path, words: list[str], message: str) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"requests": [{"context": [1], "sampled": [99999]}]}\n')
    places = {"FILE": str(file), "OUT": str(tmp_path / "out")}
    if not words or words == ["FILE"]:
        words = [*words, *([] if words else ["--out", "OUT"])]
    done = reason("train", "trees", *(places.get(word, word) for word in words))
    assert done.exit_code == 2 and message in done.stderr
    assert not (tmp_path / "out").exists()
