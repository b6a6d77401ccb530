"""`reason train grpo`: recipes, a run on the model that ships, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import pytest

from reason.backends.sglang_launch import free_port
from reason.config import read_toml
from reason.errors import UsageError
from rl.grpo_recipe import Plan
from rl.trl_config import REPORTERS, reporting
from tests.console import reason

PLAIN = {"sampling": {"temperature": 1.0}}
RECIPES = {
    "apr_countdown": 60,
    "pgrpo_countdown": 50,
    "pdr_countdown": 200,
    "pacore_countdown": 60,
    "async_countdown": 60,
}
SMALL = (
    "task=countdown3",
    "problems=24",
    "width=2",
    "sampling.max_tokens=200",
    "grpo.num_generations=4",
    "grpo.per_device_train_batch_size=8",
    "grpo.gradient_accumulation_steps=2",
    "grpo.save_steps=1",
    "tree.correction=2",
)


@pytest.mark.parametrize(("name", "steps"), RECIPES.items())
def test_shipped_recipes_can_be_carried_out(name: str, steps: int) -> None:
    tables = {**read_toml(Path("rl/recipes") / f"{name}.toml"), "problems": 3}
    if name == "async_countdown":  # which server only its user knows
        with pytest.raises(UsageError, match="ahead needs servers that sample meanwhile"):
            Plan.of(tables)
        tables["backend"] = "sglang://127.0.0.1:1"
    plan = Plan.of(tables)
    assert len(plan.problems("countdown")) == 3
    assert plan.grpo["max_steps"] == steps


def test_every_recipe_is_looked_at() -> None:
    found = {p.stem for p in Path("rl/recipes").glob("*.toml") if "[grpo]" in p.read_text()}
    assert found == {*RECIPES}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"grpo": {"lr": 1}}, "unknown key grpo.lr"),
        ({"grpo": {"temperature": 0.5}}, "grpo.temperature is not for a recipe: rollouts are"),
        ({"grpo": 3}, "grpo has keys of its own"),
        ({"grpo": {"max_steps": "x"}}, "grpo.max_steps must be a number, got 'x'"),
        ({"grpo": {"learning_rate": float("nan")}}, "grpo.learning_rate must be a number, got nan"),
        ({"grpo": {"max_steps": 0}}, "grpo.max_steps must be 1 or more, or -1"),
        ({"tree": {"weighing": "tokens"}}, "did you mean weighting"),
        ({"tree": {"row_tokens": 0}}, "row_tokens must be 1 or more, got 0"),
        ({"rewards": {"speed": 1.0}}, "no reward is called 'speed'"),
        ({"rewards": {"correctness": "much"}}, "rewards.correctness must be a weight, got 'much'"),
        ({"controller": "mcts"}, "no controller is called 'mcts'"),
        ({"wdith": 2}, "did you mean width"),
        ({"alternate": 3}, "alternate has keys of its own"),
        ({"alternate": {"width": 2}}, "alternate needs a method: give alternate.controller=NAME"),
        ({"alternate": {"controller": "single", "wide": 2}}, "unknown key wide"),
        ({"tree": {"trained": "first"}}, "tree.trained"),
        ({"ahead": -1}, "ahead must be 0 or more, got -1"),
        ({"ahead": 2, "backend": "x", "tree": {"sft_coef": 1}}, "tree cannot be had with ahead"),
        ({"ahead": 2, "backend": "x", "grpo": {"beta": 1}}, "unknown key grpo.beta"),
        ({"transfer": "mail"}, "transfer"),
        (
            {**PLAIN, "report_to": "mail"},
            "report_to must be none, tensorboard, trackio, wandb, got 'mail'",
        ),
        ({"tree": {"sft_coef": -1}}, "sft_coef must be 0 or more, got -1"),
        ({"problems": 0}, "problems must be 1 or more"),
    ],
)
def test_recipes_that_cannot_be(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.of(tables).arguments(Path("nowhere"))


def test_what_is_not_installed_is_not_reported_to() -> None:
    for name in REPORTERS:
        if find_spec(name) is None:
            with pytest.raises(UsageError, match=f"needs the package {name}: pip install {name}"):
                reporting(name)
        else:
            assert reporting(name) == [name]
    assert reporting("none") == []


@pytest.mark.parametrize(
    ("task", "message"),
    [("countdown4_target", "held out to measure with"), ("countdown3,countdown4", "one task")],
)
def test_what_is_not_learnt_from(task: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.of({"task": task}).problems("countdown")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log, without what the clock says; of a step that was done twice, the last."""
    found = {}
    for line in (folder / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name in ("step_time", "train_runtime", "perf/rollout_s", "perf/rollout_tok_s"):
            row.pop(name, None)
        found[row["step"], "reward" in row] = row
    return [found[key] for key in sorted(found)]


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "reason.cli", "train", "grpo", "apr_countdown", *SMALL, *more,
            "--out", str(out)]  # fmt: skip


def test_a_run_that_is_killed_goes_on_to_the_same_curve(tmp_path: Path) -> None:
    more = ("grpo.max_steps=4", "evaluate_every=2", "evaluate_limit=12")
    whole = subprocess.run(command(tmp_path / "a", *more), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    log = tmp_path / "b" / "log.jsonl"
    process = subprocess.Popen(
        command(tmp_path / "b", *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 300
        while not (tmp_path / "b" / "checkpoints" / "checkpoint-2").is_dir():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(log.read_text().splitlines()) < len(rows(tmp_path / "a"))
    again = subprocess.run(command(tmp_path / "b", *more), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stdout
    curve = rows(tmp_path / "a")
    assert [row["step"] for row in curve if "reward" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in curve if "reward" not in row] == [0, 2, 4]
    assert rows(tmp_path / "b") == curve
    assert len(log.read_text().splitlines()) == len(curve)  # no step stands there twice
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert (tmp_path / "b" / "curves.png").stat().st_size > 10_000
    # What came out is a model like any other.
    found = reason(
        "eval", "countdown3", "--limit", "4", "-b", f"hf:{tmp_path / 'b' / 'model'}",
        "--out", str(tmp_path / "e"),
    )  # fmt: skip
    assert found.exit_code == 0, found.stderr
    # It is finished, and said again it changes nothing.
    third = subprocess.run(command(tmp_path / "b", *more), capture_output=True, text=True)
    assert third.returncode == 0 and "finished before, at step 4: the model" in third.stdout
    assert (tmp_path / "b" / "model" / "model.safetensors").read_bytes() == weights[0]
    # Another recipe does not go on with it.
    wider = [word.replace("width=2", "width=4") for word in SMALL]
    other = reason("train", "grpo", "apr_countdown", *wider, "--out", str(tmp_path / "b"))
    assert other.exit_code == 2 and "controller.width (2 there, 4 now)" in other.stderr


def test_every_second_group_is_run_by_the_other_method(tmp_path: Path) -> None:
    """PDR's mix: two updates on each batch, of which the refining attempts and the chains are
    trained on, and what was right is imitated."""
    words = [word for word in SMALL if not word.startswith("grpo.gradient")]
    done = reason(
        "train", "grpo", "pdr_countdown", *words, "grpo.steps_per_generation=2", "rounds=[3]",
        "grpo.max_steps=4", "evaluate_every=0", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = [row for row in rows(tmp_path) if "reward" in row]
    assert [row["step"] for row in found] == [1, 3]  # TRL tells of a batch once
    for row in found:
        both = (row["rollout/correct/pdr"] + row["rollout/correct/single"]) / 2
        assert row["rollout/correct"] == pytest.approx(both)  # as many of each
        assert row["sft_loss"] > 0
        # Four attempts of each run of PDR were sampled, and one of them is trained on.
        assert row["completions/mean_length"] < 0.6 * row["rollout/total_tokens"]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each answers its share of the prompts; both move together."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_port", str(free_port())]
    one = command(tmp_path / "a", "grpo.max_steps=2", "evaluate_every=0")
    done = subprocess.run([*launch, *one[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    curve = rows(tmp_path / "a")
    assert [row["step"] for row in curve if "reward" in row] == [1, 2]
    assert done.stdout.count("the model is in") == 1
    for row in curve:  # both are of all rollouts, not of one process's
        assert row["rollout/correct"] == pytest.approx(row["reward"])
    # With as many rollouts for each process as one process has.
    alone = subprocess.run(
        command(tmp_path / "b", "grpo.max_steps=1", "evaluate_every=0"),
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr
    tokens = [rows(tmp_path / name)[0]["num_tokens"] for name in "ab"]
    assert 1.4 < tokens[0] / tokens[1] < 3
    assert (tmp_path / "a" / "model" / "model.safetensors").exists()


def test_a_mistake_leaves_the_folder_free(tmp_path: Path) -> None:
    done = reason(
        "train", "grpo", "apr_countdown", "grpo.num_generations=1", "--out", str(tmp_path / "x")
    )
    assert done.exit_code == 2 and "grpo: " in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_mistake_is_one_line_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own, in which nobody has told TRL to be silent."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRL_")}
    words = ["train", "grpo", "apr_countdown", "grpo.loss_type=foo", "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [sys.executable, "-m", "reason.cli", *words], capture_output=True, text=True, env=known
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("reason: grpo.loss_type must be one of grpo")
    assert done.stderr.count("\n") == 1


def test_mistakes(tmp_path: Path) -> None:
    out = str(tmp_path / "x")
    assert "give --out DIR" in reason("train", "grpo", "apr_countdown").stderr
    done = reason("train", "grpo", "nothing", "--out", "x")
    assert done.exit_code == 2 and "apr_countdown.toml" in done.stderr
    done = reason("train", "grpo", "apr_countdown", "sampling.temperature=0.5", "--out", out)
    assert done.exit_code == 2 and "sampling.temperature=0.5, not 1" in done.stderr
    assert not Path(out).exists()
