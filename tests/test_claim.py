"""Whose a folder is: mistakes leave it free, and no training goes on with what another one made."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
from reason.backends.sglang_launch import free_port
from reason.errors import UsageError
from rl.claim import check, claim
from rl.grpo_recipe import Plan
from tests.console import reason

PLAN = {"sampling": {"temperature": 1.0}, "grpo": {"max_steps": 2}}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def recipe(folder: Path) -> str:
    """Of the smallest supervised training."""
    file = folder / "small.toml"
    stage = "[[stage]]\nname = 'one'\nblocks = 1\nmuon = 0.01\nadamw = 1e-3\n"
    file.write_text("batch = 256\nblock = 1\ncompile = false\n[shape]\nhidden = 64\nlayers = 1\n"
                    "intermediate = 64\nhead = 32\ncontext = 256\n" + stage)  # fmt: skip
    return str(file)


def made(folder: Path, config: Any = None, *rows: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


STEP = {"step": 1, "reward": 0.5, "loss": 0.1}


def test_no_training_goes_on_with_what_another_command_made(tmp_path: Path) -> None:
    small, sft = recipe(tmp_path), tmp_path / "sft"
    assert reason("train", "sft", small, "--out", str(sft)).exit_code == 0
    runs = tmp_path / "runs.jsonl"
    runs.write_text('{"requests": [{"context": [1], "sampled": [2]}]}\n')
    grpo = made(tmp_path / "grpo", Plan.of(PLAN).described(), STEP)
    trees = made(tmp_path / "trees", {"model": "x", "runs": {}, "seed": 0, "sft": {}}, STEP)
    evaluation = made(tmp_path / "e", {"task": "countdown4", "controller": {}, "backends": {}})
    commands = {
        "sft": ("sft", small),
        "grpo": ("grpo", "apr_countdown"),
        "trees": ("trees", str(runs)),
    }
    folders = {"sft": sft, "grpo": grpo, "trees": trees, "evaluation": evaluation}
    for kind, words in commands.items():
        for there, folder in folders.items():
            if kind == there:
                continue
            before = files(folder)
            done = reason("train", *words, "--out", str(folder))
            what = (
                "an evaluation"
                if there == "evaluation"
                else f"a training by `reason train {there}`"
            )
            assert (done.exit_code, done.stderr) == (
                2,
                f"reason: {folder} holds {what}, which `reason train {kind}` does not go on with: "
                "give another --out\n",
            )
            assert files(folder) == before


def test_a_log_without_a_config_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a training without its config.json"):
        check(made(tmp_path / "x", None, STEP), "grpo", {})
    with pytest.raises(UsageError, match="holds a training by `reason train sft`"):
        check(made(tmp_path / "y", None, {"block": 0, "loss": 1.0}), "grpo", {})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task=countdwn4", "no task is called 'countdwn4'"),
        ("task=/nowhere.jsonl", "task=/nowhere.jsonl: there is no such file; give one of problems"),
        ("evaluate_task=nosuch", "no task is called 'nosuch'"),
        ("evaluate_task=/nowhere.jsonl", "evaluate_task=/nowhere.jsonl: there is no such file"),
        ("evaluate_task=countdown3,countdown4", "one task to evaluate on, got 2"),
        ("task=aime24", "countdown problems only, not aime24; train another: model=path_or_hub_id"),
        ("tree.attention=foo", "tree.attention must be"),
        ("grpo.learning_rate=-1", "grpo.learning_rate must be 0 or more, got -1"),
        ("grpo.adam_beta1=1", "grpo.adam_beta1 must be from 0 to less than 1, got 1"),
        ("grpo.save_steps=0", "grpo.save_steps must be more than 0, got 0"),
        ("sampling.top_p=0.95", "sampling.top_p=0.95, not 1; give sampling.top_p=1"),
    ],
)
def test_a_mistake_leaves_no_folder(tmp_path: Path, word: str, message: str) -> None:
    out = tmp_path / "x"
    done = reason("train", "grpo", "apr_countdown", "problems=3", word, "--out", str(out))
    assert done.exit_code == 2 and message in done.stderr.lower(), done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("ahead", [(), ("ahead=2",)])
def test_a_server_that_does_not_answer_leaves_no_folder(
    tmp_path: Path, ahead: tuple[str, ...]
) -> None:
    out, place = tmp_path / "x", f"sglang://127.0.0.1:{free_port()}"
    name = "async_countdown" if ahead else "apr_countdown"
    done = reason("train", "grpo", name, f"backend={place}", *ahead, "--out", str(out))
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"reason: backend={place}: cannot reach http://127.0.0.1:")
    assert "start that server, or give another backend=" in done.stderr
    assert not out.exists()


def test_a_folder_without_a_step_is_taken_over(tmp_path: Path) -> None:
    """As it is left by one who stopped before the first step, or whose measure was all there is."""
    one, other = {"grpo": {"max_steps": 1}}, {"grpo": {"max_steps": 2}}
    folder = made(tmp_path / "x", one, {"step": 0, "heldout/accuracy": 0.5})
    (folder / "heldout" / "step-0").mkdir(parents=True)
    claim(folder, "grpo", one)
    assert [*files(folder)] == ["config.json", "log.jsonl"] and (folder / "heldout").exists()
    claim(folder, "grpo", other)
    assert json.loads((folder / "config.json").read_text()) == other
    assert [*files(folder)] == ["config.json"] and not (folder / "heldout").exists()
    (folder / "log.jsonl").write_text(json.dumps(STEP) + "\n")
    with pytest.raises(UsageError, match=r"grpo.max_steps \(2 there, 1 now\)"):
        claim(folder, "grpo", one)
    (folder / "log.jsonl").unlink()
    claim(folder, "sft")
    assert [*files(folder)] == []


def test_without_a_recipe_those_that_ship_are_named(tmp_path: Path) -> None:
    done = reason("train", "grpo", "--out", str(tmp_path / "x"))
    assert (done.exit_code, done.stderr) == (
        2,
        "reason: which recipe? for example: reason train grpo apr_countdown --out DIR; there are "
        "apr_countdown, async_countdown, pacore_countdown, pdr_countdown, pgrpo_countdown, or a "
        "FILE.toml\n",
    )
    done = reason("train", "sft", "--out", str(tmp_path / "x"))
    assert "which recipe? for example: reason train sft countdown --out DIR" in done.stderr
