"""Whole evaluations on data sets in files, by a model that is a script."""

import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controllers.best_of_n import BestOfN
from controllers.single import Single
from controllers.tags import STEP_BY_STEP
from eval.graders import EQUALITY, Mathematics
from eval.item import Item
from eval.runner import evaluate
from eval.sandbox import Sandbox
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.types import SamplingParams
from tests.data import needs_data, path, rows
from tests.test_catalog import jsonl
from tests.test_eval_command import paper, written
from tests.test_eval_command import run as evaluated


def model(answers: Mapping[str, str]) -> ScriptedBackend:
    """Says what stands under the question that it is asked."""

    def script(context: str, params: SamplingParams) -> str:
        return next(said for question, said in answers.items() if question in context)

    return ScriptedBackend(script)


async def run(tasks: str, out: Path, said: Mapping[str, str], **changes: Any) -> tuple[int, str]:
    console = paper(width=200)
    options: dict[str, Any] = {
        "controller": Single(),
        "backends": {"policy": model(said)},
        "limit": None,
    }
    code = await evaluated(out, console, task=tasks, **{**options, **changes})
    return code, written(console)


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


async def test_several_tasks_each_in_a_folder_of_its_own(tmp_path: Path) -> None:
    halves = jsonl(
        tmp_path / "halves.jsonl",
        {"problem": "What is half of one?", "answer": "\\frac{1}{2}"},
        {"problem": "What is half of two?", "answer": "1"},
    )
    twos = jsonl(tmp_path / "twos.jsonl", {"problem": "What is one and one?", "answer": 2})
    said = {
        "half of one": "It is <think>\\boxed{0.5}</think> a half.",
        "half of two": "So $\\boxed{2}$.",
        "one and one": "Two, $\\boxed{2.0}$, I think.",
    }
    out = tmp_path / "out"
    code, shown = await run(f"{halves}:3,{twos}", out, said)
    assert code == 0
    assert {folder.name for folder in out.iterdir()} == {"halves", "twos"}
    first, second = metrics(out / "halves"), metrics(out / "twos")
    assert (first["samples"], first["questions"], first["accuracy"]["value"]) == (6, 2, 0.5)
    assert (first["in_thought"], first["false_claims"], first["ungraded"]) == (0.5, 0.5, 0)
    assert (second["samples"], second["accuracy"]["value"], second["in_thought"]) == (1, 1, 0)
    assert "halves · single" in shown and "twos · single" in shown
    assert re.search(r"answer in thought +50.0%", shown)


async def test_a_chat_model_is_asked_in_the_usual_words(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "x.jsonl", {"problem": "Why?", "answer": "1"})
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return "\\boxed{1}"

    backends = {"policy": ScriptedBackend(script)}
    _, shown = await run(str(file), tmp_path / "out", {}, backends=backends, json=True)
    assert f"Why?\n\n{STEP_BY_STEP}" in asked[0]
    report = json.loads(shown)
    assert report["accuracy"]["value"] == 1
    assert report["config"]["task"] == "x" and report["config"]["limit"] == 1


async def test_right_answers_that_cannot_be_read(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "x.jsonl",
        {"problem": "One?", "answer": "1"},
        {"problem": "Two?", "answer": "\\frac{", "id": "odd"},
    )
    said = {"One?": "\\boxed{1}", "Two?": "\\boxed{2}"}
    _, shown = await run(str(file), tmp_path / "kept", said)
    assert shown.startswith(
        "1 of 2 right answers cannot be read: odd (it cannot be read as mathematics). Only the "
        "very same words count; exclude_unreadable=true leaves these questions out.\n"
    )
    assert metrics(tmp_path / "kept")["questions"] == 2
    _, shown = await run(str(file), tmp_path / "left", said, exclude_unreadable=True)
    assert "Their questions are left out." in shown
    assert metrics(tmp_path / "left")["questions"] == 1
    with pytest.raises(UsageError, match=r"what differs: excluded \(\[\] there, \[\"odd\"\] now\)"):
        await run(str(file), tmp_path / "kept", said, exclude_unreadable=True)


async def test_other_data_do_not_resume_an_evaluation(tmp_path: Path) -> None:
    row = {"problem": "One?", "answer": "1"}
    said = {"One?": "\\boxed{1}"}
    (tmp_path / "elsewhere").mkdir()
    file = jsonl(tmp_path / "x.jsonl", row)
    moved = jsonl(tmp_path / "elsewhere" / "x.jsonl", row)
    await run(str(file), tmp_path / "out", said)
    await run(str(moved), tmp_path / "out", said)
    jsonl(file, {**row, "answer": "2"})
    with pytest.raises(UsageError, match=r"what differs: data.sha256 \("):
        await run(str(file), tmp_path / "out", said)


async def test_a_grader_that_gives_up_is_on_record_and_stops_nothing(tmp_path: Path) -> None:
    sandbox = Sandbox(EQUALITY, seconds=0.25)
    grader = Mathematics(sandbox)
    seen = set()

    def fault(answer: str | None) -> str | None:
        seen.add(threading.current_thread())
        return "there is no answer" if answer is None else grader.fault(answer, "5")

    items = [Item(name, name, name, fault, slow=True) for name in ("tower", "five")]
    said = {"tower": "\\boxed{9^{9^9}}", "five": "\\boxed{10/2}"}
    found = await evaluate(
        BestOfN(2, "verifier"), items, {"policy": model(said)}, tmp_path, config={}
    )
    sandbox.close()
    assert (found.accuracy.value, found.ungraded, found.false_claims) == (0.5, 1, 0.5)
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()
    ungraded = {row["id"]: row["ungraded"] for row in map(json.loads, lines)}
    took = "it cannot be compared with 5: it took more than 0.25 seconds of processor time"
    assert ungraded == {"tower": took, "five": None}
    assert threading.main_thread() not in seen, "streams go on while an answer is graded"


@needs_data
async def test_recorded_answers_of_a_real_model_are_graded_as_they_were(tmp_path: Path) -> None:
    recorded = rows("math/recorded_samples.jsonl")
    file = jsonl(
        tmp_path / "recorded.jsonl",
        *({"problem": row["problem"], "answer": row["answer"]} for row in recorded),
    )
    said = {row["problem"]: row["samples"][0]["text"] for row in recorded}
    await run(str(file), tmp_path / "out", said)
    right = sum(row["samples"][0]["correct"] for row in recorded)
    assert metrics(tmp_path / "out")["accuracy"]["value"] == pytest.approx(right / 60)


@needs_data
async def test_copies_of_two_contests(tmp_path: Path) -> None:
    named = [("aime24", path("math/aime24.jsonl")), ("amc23", path("math/amc23.jsonl"))]
    said = {
        row["problem"]: f"\\boxed{{{row['answer']}}}"
        for _, file in named
        for row in rows(f"math/{file.name}")
    }
    tasks = ",".join(f"{name}@{file}:2" for name, file in named)
    code, _ = await run(tasks, tmp_path, said, limit=12)
    assert code == 0
    for name, _ in named:
        found = metrics(tmp_path / name)
        assert (found["samples"], found["accuracy"]["value"]) == (24, 1)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert (config["task"], config["repeats"], config["limit"]) == (name, 2, 12)
        assert config["data"]["source"] == f"{name}.jsonl"
