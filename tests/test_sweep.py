"""Sweeps: every cell is an evaluation like any other, once, whatever stops or kills it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.console import reason, tiny

STUDY = """
task = "countdown3:2"
limit = 4
problems_seed = 3
sampling.temperature = 1.0
sampling.max_tokens = 24

[[method]]
controller = "self_consistency"
n = [1, 3]

[[method]]
controller = "single"

[grid]
budget.critical_path = [8, 16]
"""
NAMES = {
    f"{method},budget.critical_path={limit}"
    for method in ("self_consistency,n=1", "self_consistency,n=3", "single")
    for limit in (8, 16)
}


def study(folder: Path, text: str = STUDY) -> str:
    file = folder / "study.toml"
    file.write_text(f'backend = "{tiny()}"\n{text}')
    return str(file)


def contents(folder: Path, name: str) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in folder.glob(f"*/{name}")}


def keys(folder: Path) -> dict[str, list[tuple[str, int]]]:
    """The samples of each cell, as they stand in its file."""
    found = {}
    for name, data in contents(folder, "samples.jsonl").items():
        rows = [json.loads(line) for line in data.splitlines()]
        found[name] = sorted((row["id"], row["repeat"]) for row in rows)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep as it is when nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    result = reason("sweep", study(folder), "--out", str(folder))
    assert result.exit_code == 0, result.stderr
    return folder


def test_every_cell_is_what_the_evaluation_alone_would_be(whole: Path, tmp_path: Path) -> None:
    assert contents(whole, "metrics.json").keys() == NAMES
    words = ("limit=4", "problems_seed=3", "sampling.temperature=1.0", "sampling.max_tokens=24")
    alone = reason(
        "eval", "countdown3:2", "--backend", tiny(), *words, "n=3", "budget.critical_path=8",
        "--controller", "self_consistency", "--out", str(tmp_path),
    )  # fmt: skip
    assert alone.exit_code == 0, alone.stderr
    cell = whole / "self_consistency,n=3,budget.critical_path=8"
    for name in ("metrics.json", "config.json"):
        assert (cell / name).read_bytes() == (tmp_path / name).read_bytes()


def test_what_is_there_is_not_done_twice(whole: Path) -> None:
    before = [contents(whole, name) for name in ("samples.jsonl", "trees.jsonl", "metrics.json")]
    result = reason("sweep", str(whole / "study.toml"), "--out", str(whole), "--json")
    assert result.exit_code == 0, result.stderr
    after = [contents(whole, name) for name in ("samples.jsonl", "trees.jsonl", "metrics.json")]
    assert after == before
    report = json.loads(result.stdout)
    assert report["out"] == str(whole)
    assert {cell["cell"]: cell["metrics"] for cell in report["cells"]} == {
        name: json.loads(data) for name, data in after[2].items()
    }
    assert {(cell["task"], cell["error"]) for cell in report["cells"]} == {("countdown3", None)}


def test_the_table_has_a_line_for_every_cell(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = reason("sweep", str(whole / "study.toml"), "--out", str(whole))
    table = result.stdout.partition("accuracy")[2]
    for name in NAMES:
        data = json.loads((whole / name / "metrics.json").read_text())
        share = f"{100 * data['accuracy']['value']:.1f}% ["
        (line,) = [x for x in table.splitlines() if x.startswith(name.replace(",", ", "))]
        assert share in line and f"{data['tokens_per_sample']['mean']:,.0f}" in line


def test_the_budget_of_a_sweep_stops_it_and_more_goes_on(whole: Path, tmp_path: Path) -> None:
    file = study(tmp_path)
    every = sum(json.loads(d)["total_tokens"] for d in contents(whole, "metrics.json").values())
    words = ("sweep", file, "--out", str(tmp_path / "out"), "concurrency=1")
    stopped = reason(*words, f"stop.total_tokens={every // 2}")
    assert stopped.exit_code == 1
    assert f"of {every // 2:,} tokens are spent" in stopped.stdout
    assert "the same command goes on from there" in stopped.stdout
    rows = [
        json.loads(line)
        for data in contents(tmp_path / "out", "samples.jsonl").values()
        for line in data.splitlines()
    ]
    spent = sum(row["total_tokens"] for row in rows)
    assert every // 2 <= spent < every // 2 + max(row["total_tokens"] for row in rows)
    again = reason(*words, f"stop.total_tokens={every // 2}")
    assert again.exit_code == 1, "what was spent before counts"
    assert reason(*words, f"stop.total_tokens={2 * every}").exit_code == 0
    assert contents(tmp_path / "out", "metrics.json") == contents(whole, "metrics.json")


def test_a_cell_that_fails_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    name = "self_consistency,n=3,budget.critical_path=8"
    taken = tmp_path / "out" / name
    taken.mkdir(parents=True)
    (taken / "samples.jsonl").write_text("{}\n")
    result = reason("sweep", study(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "holds samples but no config.json" in result.stdout
    assert contents(tmp_path / "out", "metrics.json").keys() == NAMES - {name}
    assert "cells finished: 5 of 6" in result.stdout


def test_cells_of_another_configuration_are_told_before_the_first_runs(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    there = [f"{method},budget.critical_path=16" for method in ("self_consistency,n=3", "single")]
    for name in there:
        shutil.copytree(whole / name, out / name)
    shutil.copy(whole / "study.toml", tmp_path)
    words = ("sweep", str(tmp_path / "study.toml"), "--out", str(out))
    before = contents(out, "samples.jsonl")

    def refused(*more: str) -> str:
        result = reason(*words, *more)
        assert (result.exit_code, contents(out, "samples.jsonl")) == (2, before), result.stdout
        assert len(result.stderr.splitlines()) == 1
        return result.stderr

    assert refused("sampling.max_tokens=30", "limit=3") == (
        f"reason: in {out} are cells of another configuration: {there[0]}, {there[1]} "
        "(controller.sampling.max_tokens is 24 there, 30 now; limit is 4 there, 3 now, and can "
        "only grow). Give the same options to go on, or another folder\n"
    )
    config = out / there[1] / "config.json"
    config.write_text(config.read_text().replace('"fingerprint": "', '"fingerprint": "x'))
    assert f"another configuration: {there[1]} (backends.policy.fingerprint is" in refused()
    config.write_text("{")
    assert f"{config} is not valid JSON" in refused()
    shutil.copy(whole / there[1] / "config.json", config)
    assert reason(*words, "--dry-run", "limit=3").exit_code == 0
    assert reason(*words).exit_code == 0
    assert contents(out, "metrics.json") == contents(whole, "metrics.json")


def start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "reason.cli", "sweep", study(folder), "--out", f"{folder}/out"]
    return subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def wait_for(condition: Any, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sweep_that_is_killed_goes_on(whole: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "concurrency=1")
    out = tmp_path / "out"
    wait_for(lambda: sum(map(len, keys(out).values())) >= 18, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = sum(map(len, keys(out).values()))
    assert 18 <= begun < 48
    result = reason("sweep", str(tmp_path / "study.toml"), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert keys(out) == keys(whole)
    assert contents(out, "metrics.json") == contents(whole, "metrics.json")


def halfway(out: Path) -> int | None:
    """A worker of Ray that has begun a cell, and not finished it."""
    for entry in Path("/proc").iterdir():
        try:
            if not (entry / "cmdline").read_bytes().startswith(b"ray::run_cell"):
                continue
            for held in (entry / "fd").iterdir():
                file = held.resolve()
                begun = file.name == "samples.jsonl" and file.is_relative_to(out)
                if begun and 1 <= file.read_bytes().count(b"\n") <= 5:
                    return int(entry.name)
        except OSError:
            continue
    return None


def test_a_cluster_of_two_workers_of_which_one_is_killed(whole: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--on", "ray", "cpus=0.5", "concurrency=1")
    out, victims = tmp_path / "out", list[int]()

    def killed() -> bool:
        if victim := halfway(out):
            os.kill(victim, signal.SIGKILL)
            victims.append(victim)
        return bool(victims)

    wait_for(killed, process)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    assert keys(out) == keys(whole)
    assert contents(out, "metrics.json") == contents(whole, "metrics.json")
    sessions = [len(json.loads(d)["sessions"]) for d in contents(out, "manifest.json").values()]
    assert sorted(sessions) == [1, 1, 1, 1, 1, 2], "the cell of the dead worker was begun again"
    assert not Path(f"/proc/{victims[0]}").exists() and halfway(out) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no controller: give one, or a list of them, or [[method]] tables"),
        ("[[method]]\ncontroller='apr'\nwide=1", "apr,wide=1: unknown key wide"),
        ("[[method]]\ncontroller='aqr'", "aqr: no controller is called 'aqr'; there is: apr"),
        ("[[method]]\ncontroller='single'\ntask='x'", "single,task=x: no task is called 'x'"),
        ("limit=0\n[[method]]\ncontroller='single'", "single: limit must be 1 or more, got 0"),
        ("out='x'\n[[method]]\ncontroller='single'", "out is for the command line of the sweep"),
        ("[stop]\ntokens=1\n[[method]]\ncontroller='single'", "unknown key stop.tokens"),
        ("[stop]\nseconds=0\n[[method]]\ncontroller='single'", "seconds must be above 0, got 0"),
        ("[[method]]\ncontroller=['single', 'single']", "two cells of the sweep are called"),
        ("[grid", "study.toml"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(("" if "task=" in text else "task='countdown3'\n") + text)
    result = reason("sweep", str(file), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2 and message in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "which sweep? for example: reason sweep study.toml"),
        (("none.toml",), "none.toml"),
        (("none.toml", "--on", "rey"), "on must be ray or ray://HOST:PORT, got 'rey'"),
        (("none.toml", "--on", "ray", "--cpus", "0"), "a cell needs cpus or gpus, got 0 and 0"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], message: str) -> None:
    result = reason("sweep", *words)
    assert result.exit_code == 2 and message in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1
