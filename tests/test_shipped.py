"""The model that ships with the package: what it is, what it can do, a real evaluation of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from controllers.single import Single
from eval.tasks import Countdown
from reason.backends.base import Backend
from reason.backends.connect import connect
from reason.run import Controller, Trajectory, solve
from reason.types import SamplingParams
from tests.console import reason

MODELS = Path(str(files("reason") / "models"))
GREEDY = SamplingParams(temperature=0.0, max_tokens=1024)


@pytest.fixture(scope="module")
def model() -> Iterator[Backend]:
    backend = connect("")
    yield backend
    asyncio.run(backend.close())


def runs(model: Backend, method: Controller, task: Countdown, count: int) -> list[Trajectory]:
    async def main() -> list[Trajectory]:
        items = list(task.items(count, 1, "countdown"))
        return await asyncio.gather(*(solve(method, i.prompt, {"policy": model}) for i in items))

    return asyncio.run(main())


def solved(model: Backend, method: Controller, task: Countdown, count: int) -> int:
    items = list(task.items(count, 1, "countdown"))
    found = runs(model, method, task, count)
    return sum(
        item.verify(run.result.answer if run.result else None)
        for item, run in zip(items, found, strict=True)
    )


def test_it_is_small_and_safe() -> None:
    folders = [folder for folder in MODELS.iterdir() if folder.is_dir() and folder.name[0] != "_"]
    sizes = {f: sum(p.stat().st_size for p in f.rglob("*") if p.is_file()) for f in folders}
    assert folders and max(sizes.values()) <= 11 << 20 and sum(sizes.values()) <= 20 << 20
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= names
        assert {path.suffix for path in folder.iterdir()} <= {".md", ".json", ".safetensors"}


def test_it_says_what_it_is(model: Backend) -> None:
    assert model.info.grammar == "countdown"
    assert model.info.context == 2048 and model.info.reproducible == "always"


def test_it_solves_held_out_problems_in_parallel(model: Backend) -> None:
    method = AdaptiveParallel(syntax="countdown", sampling=GREEDY)
    assert solved(model, method, Countdown(4), 40) >= 34
    assert solved(model, method, Countdown(3), 40) >= 36


def test_it_solves_some_in_one_thread(model: Backend) -> None:
    assert solved(model, Single(syntax="countdown", sampling=GREEDY), Countdown(4), 12) >= 4


@pytest.mark.parametrize("width", [2, 4, 8])
def test_it_spawns_as_many_as_it_is_asked_for(model: Backend, width: int) -> None:
    method = AdaptiveParallel(width=width, syntax="countdown", sampling=GREEDY)
    fitting = 0
    found = runs(model, method, Countdown(4), 10)
    for run in found:
        first = run.tree.joins[0]
        fitting += len(first.children) == width
    assert fitting >= 9


def test_the_example_in_the_readme_prints_what_the_command_prints() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    example = readme.partition("```python\n")[2].partition("```")[0]
    words = [sys.executable, "-c", example]
    ran = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    answer = json.loads(reason("ask", "make 24 from 3 5 7 8", "--json").stdout)["answer"]
    assert ran.startswith(f"{answer} True {{") and "'controller': 'apr'" in ran


def evaluation(out: Path, concurrency: int = 4) -> list[str]:
    command = [sys.executable, "-m", "reason.cli", "eval", "countdown4", "--limit", "24"]
    return [*command, "--concurrency", str(concurrency), "--out", str(out), "--json"]


def rows(out: Path) -> dict[str, bool]:
    lines = (out / "samples.jsonl").read_bytes().splitlines()
    found = [json.loads(line) for line in lines]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row["correct"] for row in found}


def test_an_evaluation_killed_on_the_way_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(evaluation(whole), check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(evaluation(killed, 3), stdout=subprocess.DEVNULL)
    samples = killed / "samples.jsonl"
    deadline = time.monotonic() + 120
    while not samples.exists() or samples.read_bytes().count(b"\n") < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = samples.read_bytes().count(b"\n")
    assert 5 <= begun < 24 and not (killed / "metrics.json").exists()
    subprocess.run(evaluation(killed, 8), check=True, stdout=subprocess.DEVNULL)
    assert rows(killed) == rows(whole)
    assert (killed / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
