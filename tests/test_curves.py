"""Curves of training runs, from their logs to a picture."""

import json
from pathlib import Path

import pytest

from reason.errors import UsageError
from rl.curves import curves, logs_of
from tests.console import reason


def log(folder: Path, rows: list[dict[str, float]]) -> Path:
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


ROWS = [
    {"step": 0, "heldout/accuracy": 0.5},
    {"step": 1, "reward": 0.1, "rollout/correct": 0.2, "loss": 3.0},
    {"step": 2, "reward": 0.2, "rollout/correct": 0.3, "loss": 2.0},
    {"step": 2, "reward": 0.3, "rollout/correct": 0.4, "loss": 1.0},
    {"step": 2, "heldout/accuracy": 0.6},
]


def test_lines_of_a_run_and_of_several(tmp_path: Path) -> None:
    rows = logs_of(log(tmp_path / "a", ROWS))
    assert rows == [ROWS[0], ROWS[1], ROWS[3], ROWS[4]]  # step 2 was done again
    assert curves({"a": rows}) == {
        "reward": {"reward": [(1, 0.1), (2, 0.3)], "rollout/correct": [(1, 0.2), (2, 0.4)]},
        "held-out accuracy": {"heldout/accuracy": [(0, 0.5), (2, 0.6)]},
        "loss": {"loss": [(1, 3.0), (2, 1.0)]},
    }
    assert curves({"a": rows, "b": rows[:2]})["reward"] == {
        "a": [(1, 0.1), (2, 0.3)],
        "b": [(1, 0.1)],
    }


@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("below/x.svg", b"<?xml")])
def test_the_command_draws(tmp_path: Path, name: str, start: bytes) -> None:
    folders = [str(log(tmp_path / each, ROWS)) for each in "ab"]
    done = reason("train", "curves", *folders, "--out", str(tmp_path / name))
    assert (done.exit_code, done.stdout) == (0, f"the picture is {tmp_path / name}\n")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; give folders of trainings"):
        logs_of(tmp_path)
    (tmp_path / "log.jsonl").write_text("[1]\n")
    with pytest.raises(UsageError, match="line 1: no row of a training's log"):
        logs_of(tmp_path)
    assert "which trainings?" in reason("train", "curves").stderr
    done = reason("train", "curves", str(log(tmp_path / "a", ROWS)), "--out", "x.nothing")
    assert done.exit_code == 2 and "cannot write x.nothing" in done.stderr
