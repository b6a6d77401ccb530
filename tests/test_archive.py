"""Evaluations over recorded answers: no model is called, and what was recorded comes out again."""

import json
import re
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from eval.archive import open_archive
from eval.timing import Timed, read_times
from reason.errors import UsageError
from tests.console import reason
from tests.data import needs_data, path, rows

MATH = "math/recorded_samples.jsonl"


def written(file: Path, *rows: Any) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda row: (row["id"], row["repeat"]))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chains and trees of the model that ships."""
    folder = tmp_path_factory.mktemp("recorded")
    for words in (
        ("countdown3:4", "--controller", "single", "sampling.temperature=1", "--out", "single"),
        ("countdown3", "--controller", "apr", "--out", "apr"),
    ):
        *words, out = words
        limits = ("--limit", "6", "sampling.max_tokens=300", "problems_seed=2")
        result = reason("eval", *words, str(folder / out), *limits)
        assert result.exit_code == 0, result.stderr
    return folder


@pytest.mark.parametrize("name, repeats", [("single", 4), ("apr", 1)])
def test_the_same_method_gives_the_same_figures(
    recorded: Path, tmp_path: Path, name: str, repeats: int
) -> None:
    task = f"countdown3:{repeats}"
    words = ("--replay", str(recorded / name), "--controller", name, "--out", str(tmp_path))
    own = ("sampling.temperature=1",) if name == "single" else ()
    result = reason("eval", task, *words, "sampling.max_tokens=300", *own)
    assert result.exit_code == 0, result.stderr
    metrics = (recorded / name / "metrics.json").read_bytes()
    assert (tmp_path / "metrics.json").read_bytes() == metrics
    before, after = rows_of(recorded / name), rows_of(tmp_path)
    for row in before + after:
        row.pop("cached_tokens", None)
    assert after == before
    seconds = [
        {timed.key: timed.seconds for timed in read_times(folder / "times.jsonl")}
        for folder in (recorded / name, tmp_path)
    ]
    assert seconds[1] == pytest.approx(seconds[0], rel=0.5, abs=0.5), "the recorded time passes"


def test_votes_of_all_chains_are_those_counted_by_hand(recorded: Path, tmp_path: Path) -> None:
    words = ("--replay", str(recorded / "single"), "--controller", "self_consistency", "n=4")
    result = reason("eval", *words, "--out", str(tmp_path), "sampling.max_tokens=300")
    assert result.exit_code == 0, result.stderr
    chains: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(recorded / "single"):
        chains.setdefault(row["id"], []).append(row)
    for row in rows_of(tmp_path):
        own = chains[row["id"]]
        votes = Counter(chain["answer"] for chain in own if chain["answer"] is not None)
        most = max(votes.values(), default=0)
        winners = {answer for answer, count in votes.items() if count == most} or {None}
        assert row["answer"] in winners
        assert row["total_tokens"] == sum(chain["total_tokens"] for chain in own)
        assert row["critical_path"] == max(chain["critical_path"] for chain in own)


def test_a_recording_goes_on_where_it_was_stopped_and_knows_its_source(
    recorded: Path, tmp_path: Path
) -> None:
    words = ("eval", "--replay", str(recorded / "apr"), "--controller", "apr")
    assert reason(*words, "--out", str(tmp_path), "--limit", "2").exit_code == 0
    assert reason(*words, "--out", str(tmp_path)).exit_code == 0
    assert figures(tmp_path)["samples"] == 6
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["replay"]["source"] == "apr" and len(config["replay"]["sha256"]) == 64
    other = reason("eval", "countdown3", "--controller", "apr", "--out", str(tmp_path))
    assert other.exit_code == 2 and "replay.sha256" in other.stderr


@needs_data
def test_real_answers_of_another_model(tmp_path: Path) -> None:
    """60 problems with 8 answers each, against what their labels and rewards add up to."""
    file, recorded = path(MATH), rows(MATH)

    def share(controller: str, *words: str, task: tuple[str, ...] = ()) -> float:
        out = tmp_path / "-".join((controller, *words))
        result = reason(
            "eval",
            *task,
            "--replay",
            str(file),
            "--controller",
            controller,
            *words,
            "--out",
            str(out),
        )
        assert result.exit_code == 0, result.stderr
        return float(figures(out)["accuracy"]["value"])

    labels = [[sample["correct"] for sample in row["samples"]] for row in recorded]
    mean = fmean(map(fmean, labels))
    assert share("single", task=(f"{file}:8",)) == pytest.approx(mean, abs=2e-3)
    best = [max(row["samples"], key=lambda s: s["reward"])["correct"] for row in recorded]
    assert share("best_of_n", "n=8", "scorer=recorded") == pytest.approx(fmean(best), abs=2e-3)
    assert share("best_of_n", "n=8") == pytest.approx(fmean(map(max, labels)), abs=1 / 60)
    cut = share("single", "budget.total_tokens=100", task=(f"{file}:8",))
    whole = [
        sample["correct"] and len(sample["text"].split()) <= 100
        for row in recorded
        for sample in row["samples"]
    ]
    assert 0 < cut < mean and cut == pytest.approx(fmean(whole), abs=2e-2)


def test_rewards_choose_and_seconds_pass_on_a_virtual_clock(tmp_path: Path) -> None:
    samples = [
        {"text": r"so \boxed{1}", "reward": 0.5, "seconds": 4000.0, "wait": 100.0},
        {"text": r"thus \boxed{2}", "reward": 0.9, "seconds": 50},
        {"text": r"hence \boxed{3}", "reward": -3, "seconds": 9000, "finish": "length"},
    ]
    file = written(tmp_path / "x.jsonl", {"problem": "1+1?", "answer": "2", "samples": samples})
    words = ("eval", "--replay", str(file), "--controller", "best_of_n", "n=3", "scorer=recorded")
    assert reason(*words, "--out", str(tmp_path / "a")).exit_code == 0
    (row,) = rows_of(tmp_path / "a")
    timing = json.loads((tmp_path / "a" / "timing.json").read_text())
    assert (row["answer"], row["correct"]) == ("2", True)
    (timed,) = read_times(tmp_path / "a" / "times.jsonl")
    assert timed == Timed("1", 0, pytest.approx(9000), pytest.approx(0))
    word = {"problem": "1+1?", "answer": "2", "samples": [{"text": r"\boxed{2}", "seconds": 7}]}
    file = written(tmp_path / "word.jsonl", word)
    alone = reason("eval", "--replay", str(file), "-c", "single", "--out", str(tmp_path / "c"))
    assert alone.exit_code == 0, alone.stderr
    (timed,) = read_times(tmp_path / "c" / "times.jsonl")
    assert timed == Timed("1", 0, pytest.approx(7), pytest.approx(7)), "its first word is its last"
    assert timing["seconds"] < 60
    limited = reason(*words, "budget.seconds=1000", "--out", str(tmp_path / "b"))
    assert limited.exit_code == 0
    (row,) = rows_of(tmp_path / "b")
    assert row["limit"] == "seconds"


GOOD = {"problem": "P", "answer": "1", "samples": [{"text": "a"}]}
BAD: list[tuple[Any, str]] = [
    ({"problem": "P", "answer": "1"}, "line 1: there is no column samples"),
    ({**GOOD, "samples": []}, "line 1: samples must be a list of at least one answer"),
    ({**GOOD, "samples": ["a"]}, "line 1, sample 1: expected an object with a text, got 'a'"),
    ({**GOOD, "samples": [{"text": ""}]}, "sample 1: text must be a text that is not empty"),
    (
        {**GOOD, "samples": [{"text": "a"}, {"text": "a", "reward": "x"}]},
        "line 1, sample 2: reward must be a finite number, got 'x'",
    ),
    (
        {**GOOD, "samples": [{"text": "a", "wait": 2, "seconds": 1}]},
        r"sample 1: wait must be 0 to seconds \(1\), got 2",
    ),
    (
        {**GOOD, "samples": [{"text": "a", "finish": "error"}]},
        "sample 1: finish must be eos or length, got 'error'",
    ),
]


@pytest.mark.parametrize("row, message", BAD)
def test_a_bad_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_archive(written(tmp_path / "x.jsonl", row), "")


def test_mistakes_are_one_line(recorded: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "x.jsonl", GOOD)
    one, two = {"text": "a", "reward": 1}, {"text": "b"}
    rated = written(
        tmp_path / "rated.jsonl",
        {**GOOD, "samples": [one]},
        {**GOOD, "problem": "Q", "samples": [one, two, two]},
    )
    (tmp_path / "treeless").mkdir()
    (tmp_path / "treeless" / "config.json").write_text("{}")
    apr = str(recorded / "apr")
    for words, message in [
        ((str(tmp_path / "none"),), "is no recording: expected the folder of an evaluation"),
        ((str(tmp_path),), "holds no evaluation (no config.json); there is one in each of: tree"),
        ((str(tmp_path / "treeless"),), "holds no trees.jsonl: nothing can be replayed"),
        ((apr, "task=countdown4"), "has answers to countdown3 only, not to countdown4"),
        ((apr, "backend=hf:x"), "a replay has the models and problems of its recording"),
        ((apr, "limit=7"), "limit must be at most 6, the questions on record, got 7"),
        ((apr, "controller=single"), "were recorded, none of them to this; replay the method that"),
        ((str(file), "controller=best_of_n", "scorer=likelihood"), "no scorer is called 'likeli"),
        (
            (str(file), "controller=best_of_n", "scorer=recorded"),
            f"{file}, line 1, sample 1: there is no reward, and scorer=recorded needs one with",
        ),
        (
            (str(rated), "controller=best_of_n", "scorer=recorded"),
            f"{rated}, line 2, sample 2: there is no reward, as 1 more have none, and scorer=rec",
        ),
        ((apr, "controller=best_of_n", "scorer=recorded"), "no scorer is called 'recorded'; the"),
        (
            (str(file), "controller=apr"),
            f"{file} holds whole answers to each problem, and apr asks for more than that: what "
            "works on such a file is single, self_consistency, best_of_n, adaptive_consistency; ",
        ),
        ((str(file), "controller=budget_forcing"), "budget_forcing, record an evaluation of it"),
        (
            (str(file), "controller=self_consistency", "n=2"),
            "all 1 that were recorded are used",
        ),
    ]:
        out = tmp_path / re.sub(r"\W", "", message)
        result = reason("eval", "--replay", *words, "--out", str(out))
        assert result.exit_code == 2 and message in result.stderr, (words, result.stderr)
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "reward" not in message or not out.exists(), "nothing was begun"
