"""A training that was stopped: what it goes on from, what its log holds, and what is said."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")
from rich.console import Console

from reason.errors import UsageError
from rl.curves import logs_of
from rl.log import cut, log
from rl.resume import going_on
from tests.console import reason

QUIET = Console(quiet=True)
SMALL = (
    "task=countdown3",
    "problems=24",
    "width=2",
    "sampling.max_tokens=200",
    "grpo.num_generations=4",
    "grpo.per_device_train_batch_size=8",
    "grpo.gradient_accumulation_steps=1",
    "grpo.warmup_steps=0",
    "evaluate_every=0",
)


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "reason.cli", "train", "grpo", "apr_countdown", *SMALL, *more,
            "--out", str(out)]  # fmt: skip


def test_the_log_is_cut_to_what_led_to_the_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3, 2, 3):
        log(tmp_path, step, {"reward": step})
    log(tmp_path, 2, {"heldout/accuracy": 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')  # killed while it wrote
    cut(tmp_path, 2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 1, "reward": 1.0},
        {"step": 2, "reward": 2.0},
        {"step": 2, "heldout/accuracy": 0.5},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    cut(tmp_path, 0)
    assert (tmp_path / "log.jsonl").read_text() == ""
    (tmp_path / "log.jsonl").write_text('[1]\n{"step": 1}\n')
    with pytest.raises(UsageError, match="line 1: no row of a training's log"):
        cut(tmp_path, 1)


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    log(tmp_path, 1, {"loss": float("inf"), "grad_norm": float("nan"), "x": 1}, "mind")
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert line == '{"step": 1, "loss": null, "grad_norm": null, "x": 1.0, "warning": "mind"}'
    assert logs_of(tmp_path) == [json.loads(line)]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that made two steps, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("half") / "run"
    done = subprocess.run(
        command(folder, "grpo.max_steps=2", "grpo.save_steps=1"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", 0),
        ("optimizer.pt", 1000),
        ("scheduler.pt", 0),
        ("trainer_state.json", 10),
    ],
)
def test_a_damaged_checkpoint_is_named(half: Path, tmp_path: Path, file: str, content: int) -> None:
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    last = folder / "checkpoints" / "checkpoint-2"
    os.truncate(last / file, content)
    with pytest.raises(UsageError) as caught:
        going_on(folder, QUIET)
    assert re.fullmatch(
        re.escape(f"{last / file} is damaged (") + r".*" + re.escape(
            f"): remove the folder {last}, and the same command goes on from checkpoint-1"
        ),
        str(caught.value),
    )  # fmt: skip
    assert [row["step"] for row in logs_of(folder)] == [1, 2]  # nothing was cut
    shutil.rmtree(last)
    assert going_on(folder, QUIET) == folder / "checkpoints" / "checkpoint-1"
    assert [row["step"] for row in logs_of(folder)] == [1]
    shutil.rmtree(folder / "checkpoints")
    assert going_on(folder, QUIET) is None


def test_a_new_run_begins_with_a_checkpoint(half: Path, tmp_path: Path) -> None:
    """As the message on a loss that became no number says."""
    start = half / "checkpoints" / "checkpoint-2"
    words = (f"model={start}", "grpo.learning_rate=1e-5", "grpo.max_steps=1")
    done = reason("train", "grpo", "apr_countdown", *SMALL, *words, "--out", str(tmp_path / "x"))
    assert done.exit_code == 0, done.stderr
    (row,) = logs_of(tmp_path / "x")
    assert row["rollout/correct"] > 0.2 and row["rollout/failed"] == 0


@pytest.mark.parametrize("save", ["grpo.save_steps=20", "grpo.save_steps=1"])
def test_weights_that_became_no_numbers_end_a_run(tmp_path: Path, save: str) -> None:
    out = tmp_path / "x"
    rate = ("grpo.learning_rate=1e30", "grpo.max_steps=8", save)
    done = subprocess.run(command(out, *rate), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and " became nan" in done.stderr, done.stderr
    if save.endswith("20"):
        assert "no checkpoint was made yet: start anew with a lower grpo.lear" in done.stderr
    else:
        newest = out / "checkpoints" / "checkpoint-1"
        assert f"start anew from it with model={newest}" in done.stderr
    assert "All reward functions" not in done.stdout
    assert "NaN" not in (out / "log.jsonl").read_text()


def test_stopped_before_a_checkpoint_it_starts_over(tmp_path: Path) -> None:
    out = tmp_path / "x"
    process = subprocess.Popen(
        command(out, "grpo.max_steps=50"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not ((out / "log.jsonl").exists() and (out / "log.jsonl").stat().st_size):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == (
        "reason: stopped; no checkpoint was made yet: the same command starts over "
        "(grpo.save_steps=N saves more often)\n"
    )
    assert process.returncode == 130


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """No file may be larger than 1 MB, which the weights are."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    out = tmp_path / "x"
    done = subprocess.run(
        command(out, "grpo.max_steps=2", "grpo.save_steps=1"),
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"reason: cannot write into {out}: ")
    assert "make room there. No checkpoint was made yet: the same command" in done.stderr


def test_runs_without_an_answer_are_told_once(tmp_path: Path) -> None:
    out = tmp_path / "x"
    small = [word for word in SMALL if not word.startswith("sampling.")]
    words = ("sampling.max_tokens=2", "grpo.max_steps=2", "rewards.correctness=0")
    done = reason("train", "grpo", "apr_countdown", *small, *words, "--out", str(out))
    assert done.exit_code == 0, done.stderr
    first, second = logs_of(out)
    lines = ("every reward weighs 0: no rollout is better than another",
             "no rollout of this step has an answer")  # fmt: skip
    assert first["warning"] == "; ".join(lines) and "warning" not in second
    assert first["rollout/unanswered"] == second["rollout/unanswered"] == 1
    for line in lines:
        assert done.stdout.count(f"warning, step 1: {line}\n") == 1
