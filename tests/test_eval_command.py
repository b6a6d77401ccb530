import asyncio
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from controllers.apr import AdaptiveParallel
from eval.command import evaluate_tasks
from eval.progress import REFRESH_SECONDS, ProgressLine, duration
from eval.scorers import SCORERS, scorers_of
from eval.tasks import parse_tasks, task_of
from reason.backends.base import Backend
from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError, UsageError
from reason.ledger import Budget
from reason.types import SamplingParams
from tests.oracle import oracle
from tests.test_metrics import sample

TABLE = """\
countdown3 · apr
  accuracy                50.0% [15.0, 85.0]
  95% interval            Wilson over questions
  samples                 4 of 4 questions
  critical path           mean 82.2, median 78, 95th 92
  tokens per sample       mean 128.8, median 121, 95th 148
  longest sequence        mean 83.5, median 80, 95th 92
  threads                 mean 7.5, median 7, 95th 9
  total tokens            515
  spawned                 100.0%
  wrong answer            50.0%
  no answer               0.0%
  truncated               0.0%
  hit the budget          0.0%
  errors                  0
  cached prompt tokens    0.0%
  wall clock              TIME, SPEED tokens/s
Samples and figures are in FOLDER
"""


async def run(
    out: Path, console: Console, json: bool = False, task: str = "countdown3", **changes: Any
) -> int:
    options: dict[str, Any] = {
        "controller": AdaptiveParallel(syntax="countdown"),
        "backends": {"policy": oracle(wrong=0.3)},
        "budget": Budget(),
        "limit": 4,
        "exclude_unreadable": False,
        "seed": 3,
        "problems_seed": 3,
        "concurrency": 2,
        "tokens_in_flight": None,
        "trees": False,
    }
    options = {**options, **changes, "out": out, "console": console, "json": json}
    return await evaluate_tasks(parse_tasks(task), **options)


def paper(terminal: bool = False, width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_the_table_and_nothing_else_where_there_is_no_terminal(tmp_path: Path) -> None:
    console = paper()
    assert await run(tmp_path, console) == 0
    shown = "\n".join(line.rstrip() for line in written(console).splitlines()) + "\n"
    shown = re.sub(r"\d+:\d\d, [\d,]+ tokens/s", "TIME, SPEED tokens/s", shown)
    assert shown.replace(str(tmp_path), "FOLDER") == TABLE


async def test_one_object_for_machines(tmp_path: Path) -> None:
    console = paper(terminal=True)
    assert await run(tmp_path, console, json=True, task="countdown3:2") == 0
    (line,) = written(console).splitlines()
    report = json.loads(line)
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert report == {
        "out": str(tmp_path),
        "config": json.loads((tmp_path / "config.json").read_text()),
        **json.loads((tmp_path / "metrics.json").read_text()),
        "timing": timing,
        "unreadable": {},
    }
    assert report["samples"] == 8
    assert {"prompt_tokens", "cached_tokens", "cached"} <= timing.keys()


async def test_one_object_for_several_tasks(tmp_path: Path) -> None:
    console = paper()
    assert await run(tmp_path, console, json=True, task="countdown3,countdown4") == 0
    (line,) = written(console).splitlines()
    report = json.loads(line)
    assert report["out"] == str(tmp_path)
    assert [(of["config"]["task"], of["out"]) for of in report["tasks"]] == [
        (name, str(tmp_path / name)) for name in ("countdown3", "countdown4")
    ]


async def test_what_is_asked_and_how_it_is_sampled_have_a_seed_each(tmp_path: Path) -> None:
    seeds: dict[str, set[int | None]] = {}
    asked: dict[str, set[str]] = {}
    for name, own, of_problems in (("a", 3, 3), ("b", 4, 3), ("c", 3, 4)):
        seen = seeds.setdefault(name, set())

        def script(context: str, params: SamplingParams, seen: set[int | None] = seen) -> str:
            seen.add(params.seed)
            return "<ans> fail <eos>"

        options = {"seed": own, "problems_seed": of_problems}
        backends = {"policy": oracle(script=script)}
        await run(tmp_path / name, paper(), backends=backends, **options)
        lines = (tmp_path / name / "samples.jsonl").read_text().splitlines()
        asked[name] = {json.loads(line)["id"] for line in lines}
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["seed"], config["problems_seed"]) == (own, of_problems)
    assert asked["a"] == asked["b"] != asked["c"]
    assert not seeds["a"] & seeds["b"]
    with pytest.raises(UsageError, match=r"what differs: problems_seed \(3 there, 4 now\)"):
        await run(tmp_path / "a", paper(), problems_seed=4)


async def test_a_terminal_gets_a_progress_line(tmp_path: Path) -> None:
    console = paper(terminal=True)
    await run(tmp_path, console)
    assert "countdown3 · apr" in written(console).split("accuracy")[0]
    assert re.search(r"4/4 accuracy 50\.0% \[15\.0, 85\.0\] · [\d,]+ tok/s", written(console))


async def test_it_fits_80_columns(tmp_path: Path) -> None:
    console = paper(terminal=True, width=80)
    await run(tmp_path, console, task="countdown3:2")
    *_, last = written(console).split("4/8 ")[-1].split("\r")
    assert "Student's t over question means" in last or "Wilson" in last
    table = written(console).rpartition("countdown3 · apr")[2].splitlines()
    assert all(line.startswith("  ") for line in table[1:16]), "nothing is wrapped"
    for title in ("countdown4 · apr", "countdown4_target · self_consistency"):
        terminal = paper(terminal=True, width=80)
        with ProgressLine(terminal, title, total=1000) as line:
            for number in range(234):
                line(sample(str(number), correct=number % 2 > 0, total_tokens=100), True)
            time.sleep(REFRESH_SECONDS)
            line(sample("234", correct=True, total_tokens=100), True)
        shown = written(terminal)
        assert re.search(r" 235/1000 accuracy \d\d\.\d% \[.*\] · \d+:\d\d left", shown)


async def test_drawing_the_problems_is_shown_and_can_be_stopped(tmp_path: Path) -> None:
    console = paper(terminal=True)
    task = asyncio.create_task(run(tmp_path / "out", console, limit=10_000_000))
    while "drawing problems" not in written(console):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written(console).endswith("\x1b[?25h\r\x1b[1A\x1b[2K"), "the bar is gone"
    assert not (tmp_path / "out").exists()


async def test_the_exit_code_tells_of_failures_and_a_second_run_mends_them(tmp_path: Path) -> None:
    healthy = oracle().script
    calls = 0

    def script(context: str, params: SamplingParams) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise BackendError("connection reset")
        return healthy(context, params)

    console = paper()
    flaky: dict[str, Backend] = {"policy": oracle(script=script)}
    assert await run(tmp_path, console, backends=flaky) == 1
    last = written(console).splitlines()[-1]
    assert last == "The model failed in 1 of 4 samples; the same command tries them again."
    assert await run(tmp_path, paper(), backends=flaky) == 0


async def test_a_model_without_a_grammar_is_asked_in_words(tmp_path: Path) -> None:
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return "I cannot"

    backends = {"policy": ScriptedBackend(script)}
    await run(tmp_path, paper(), backends=backends, controller=AdaptiveParallel(), limit=1)
    assert "Use each of the numbers" in asked[0]


async def test_a_task_or_a_limit_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task is called 'sudoku'; there is: countdown3, "):
        await run(tmp_path, paper(), task="sudoku")
    with pytest.raises(UsageError, match="limit must be 1 or more, got 0"):
        await run(tmp_path, paper(), limit=0)


def test_speed_and_time_left_are_those_of_this_session() -> None:
    line = ProgressLine(paper(), "t", total=10)
    now = time.monotonic()
    for number in range(4):
        line(sample(str(number), correct=True, total_tokens=1000), False)
    assert line.status(now + 10) == "accuracy 100.0% [51.0, 100.0]"
    for number in (4, 5):
        line(sample(str(number), correct=number == 4, total_tokens=1000), True)
    assert line.status(now + 10) == "accuracy 83.3% [43.6, 97.0] · 200 tok/s · 0:20 left"
    assert [duration(s) for s in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]


def test_every_problem_has_the_scorers_that_are_promised() -> None:
    item = next(task_of("countdown3").items(1, 0, ""))
    assert tuple(scorers_of(item)) == SCORERS
