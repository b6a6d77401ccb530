"""Which evaluations a report takes, what it calls them, and what it refuses."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import msgspec
import pytest

from eval.folders import read_evaluations
from eval.page import Page
from eval.summary import summarise
from reason.errors import UsageError
from tests.console import reason
from tests.evaluation import problems
from tests.reported import METHODS, evaluations, printed


def test_an_evaluation_that_still_runs(tmp_path: Path) -> None:
    copytree(evaluations(), tmp_path / "in")
    apr = tmp_path / "in" / "apr"
    (apr / "metrics.json").unlink()
    (apr / "trees.jsonl").unlink()
    lines = (apr / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (apr / "samples.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:40])
    (tmp_path / "in" / "single" / "samples.jsonl").write_bytes(b"")
    (tmp_path / "in" / "single" / "metrics.json").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")}
    text = printed([tmp_path / "in"], tmp_path / "out")
    assert "\napr                 7/12" in text
    assert text.partition("\n! ")[2].startswith(
        "single has no sample yet\n! apr is unfinished: 7 of 12 samples\n"
    )
    assert "OUT/report.html holds 12 of 12 thread trees" in text
    assert {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")} == before


def test_names_tell_evaluations_of_one_method_apart(tmp_path: Path) -> None:
    def change(name: str, **changes: Any) -> None:
        copytree(evaluations() / "apr", tmp_path / name)
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, **changes}))

    config = json.loads((evaluations() / "apr" / "config.json").read_text())
    change("a")
    change("b", controller={**config["controller"], "width": 4})
    change("c", budget={**config["budget"], "total_tokens": 512})
    change("d", task="countdown4")
    found = read_evaluations([tmp_path])
    assert [(e.task, e.label) for e in found] == [
        ("countdown3", "apr total_tokens=none width=0"),
        ("countdown3", "apr total_tokens=none width=4"),
        ("countdown3", "apr total_tokens=512 width=0"),
        ("countdown4", "apr total_tokens=none width=0"),
    ]
    folders = [tmp_path / "many" / f"n{n}" for n in (2, 10, 100)]
    for folder in folders:
        change(f"many/{folder.name}")
    assert [e.path for e in read_evaluations([tmp_path / "many"])] == folders
    change("e")
    same = [e.label for e in read_evaluations([tmp_path / "a", tmp_path / "e", tmp_path / "a"])]
    assert same == [f"apr ({tmp_path}/a)", f"apr ({tmp_path}/e)"]
    assert [e.label for e in read_evaluations([evaluations()])] == [
        "apr",
        "single",
        "self_consistency",
    ]


def test_names_are_as_short_as_is_clear_and_numbers_as_they_were_written(tmp_path: Path) -> None:
    base = json.loads((evaluations() / "apr" / "config.json").read_text())

    def labels(folder: str, *changes: dict[str, Any]) -> list[str]:
        for number, change in enumerate(changes):
            place = tmp_path / folder / str(number)
            copytree(evaluations() / "apr", place)
            config = {**base, **change.pop("top", {})}
            for table, values in change.items():
                config[table] = {**config.get(table, {}), **values}
            (place / "config.json").write_text(json.dumps(config))
        return [e.label for e in read_evaluations([tmp_path / folder])]

    assert labels(
        "budgets",
        {"budget": {"total_tokens": 2048.0, "seconds": 0.5}},
        {"budget": {"total_tokens": 1e6, "seconds": 60.0}},
    ) == ["apr seconds=0.5 total_tokens=2048", "apr seconds=60 total_tokens=1000000"]
    sampling = base["controller"]["sampling"]
    hot = {"sampling": {**sampling, "temperature": 1.0}}
    assert labels("hot", {}, {"controller": hot}) == ["apr temperature=0", "apr temperature=1"]
    both = {**hot, "child_sampling": {**sampling, "temperature": 0.25}}
    assert labels("both", {"controller": {**both, "sampling": sampling}}, {"controller": both}) == [
        "apr sampling.temperature=0",
        "apr sampling.temperature=1",
    ], "the children have one, too"
    assert labels("depth", {}, {"budget": {"depth": 2.0}}) == [
        "apr budget.depth=none",
        "apr budget.depth=2",
    ], "depth alone is that of the method"
    others = [
        {"top": {"task": task}, "data": {"source": f"{task}@1", "sha256": task}, **more}
        for task in ("aime24", "math500")
        for more in ({}, {"controller": {"width": 4}})
    ]
    assert labels("tasks", *others) == ["apr width=0", "apr width=4"] * 2
    copies = [{"data": {"source": name, "sha256": name * 9}} for name in "ab"]
    assert labels("copies", *copies) == ["apr data.source=a", "apr data.source=b"]
    changed = [{"data": {"source": "a", "sha256": digest}} for digest in ("0a", "1b")]
    assert labels("changed", *changed) == ["apr data.sha256=0a", "apr data.sha256=1b"]


def without(path: Path, questions: Sequence[str]) -> None:
    """Take these questions out of an evaluation."""
    lines = (path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["id"] not in questions]
    (path / "samples.jsonl").write_bytes(b"".join(kept))


def test_evaluations_of_other_problems_are_refused_or_cut_down(tmp_path: Path) -> None:
    copytree(evaluations(), tmp_path / "in")
    ids = [item.id for item in problems(6)]
    places = [tmp_path / "in" / name for name in METHODS]
    without(places[0], ids[:2])
    without(places[1], ids[2:3])
    with pytest.raises(UsageError) as error:
        printed(places, tmp_path / "out")
    assert str(error.value) == (
        f"{places[0]} and {places[1]} do not hold the same questions: 1 of 4 are only in the "
        f"first, such as {ids[2]!r}, and 2 of 5 only in the second; common=true reports on the 3 "
        "that all hold"
    )
    assert not (tmp_path / "out").exists()
    text = printed(places, tmp_path / "out", width=120, common=True)
    assert [line for line in text.splitlines() if line[:1] == "!"] == [
        f"! {name}: {count} samples are left out, of problems that others were not asked"
        for name, count in (("apr", 2), ("single", 4), ("self_consistency", 6))
    ]
    (task,) = json.loads((tmp_path / "out" / "report.json").read_text())["tasks"]
    assert [(e["questions"], e["samples"]) for e in task["evaluations"]] == [(3, 6)] * 3
    for place in places:
        without(place, ids[3:] if place == places[0] else ids[:3])
    with pytest.raises(UsageError) as error:
        printed(places, tmp_path / "out")
    assert str(error.value).endswith(
        "; no question is in all of them, so report on them one at a time"
    )
    with pytest.raises(UsageError) as error:
        printed(places, tmp_path / "out", common=True)
    assert str(error.value) == (
        f"no question of countdown3 is in all of: {', '.join(map(str, places))}"
    )


def test_an_unfinished_evaluation_may_lack_questions_but_not_have_others(tmp_path: Path) -> None:
    copytree(evaluations(), tmp_path / "in")
    (tmp_path / "in" / "apr" / "metrics.json").unlink()
    first = problems(1)[0].id
    without(tmp_path / "in" / "apr", [first])
    assert "! apr is unfinished: 10 of 12 samples" in printed([tmp_path / "in"], tmp_path / "out")
    for name in ("single", "vote"):
        without(tmp_path / "in" / name, [problems(2)[1].id])
    with pytest.raises(UsageError, match="do not hold the same questions: 1 of 5 are only in the"):
        printed([tmp_path / "in"], tmp_path / "out")


def test_two_tasks_are_two_sections(tmp_path: Path) -> None:
    copytree(evaluations(), tmp_path / "in")
    without(tmp_path / "in" / "vote", [problems(1)[0].id])
    config = tmp_path / "in" / "vote" / "config.json"
    config.write_text(config.read_text().replace("countdown3", "countdown4"))
    text = printed([tmp_path / "in"], tmp_path / "out")
    first, _, second = text.partition("countdown4\n")
    assert "\nsingle" in first and "self_consistency" not in first and "single" not in second


def spoilt(path: Path, old: bytes, new: bytes) -> Path:
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda d: [], "which evaluations? for example: reason report runs/apr runs/single"),
        (lambda d: [d / "x"], "{}/x does not exist: give the folder of an evaluation"),
        (
            lambda d: [d / "apr" / "config.json"],
            "{}/apr/config.json is no folder: give the folder of an evaluation",
        ),
        (
            lambda d: (d / "empty").mkdir() or [d / "empty"],
            "{}/empty holds no evaluation, and no folder below it does: one has a config.json and "
            "a samples.jsonl, as `reason eval --out DIR` leaves them",
        ),
        (
            lambda d: (d / "apr" / "samples.jsonl").write_text("{}\n") and [d],
            "{}/apr/samples.jsonl, line 1: not a sample (Object missing required field `id`); mend "
            "or remove that line",
        ),
        (
            lambda d: (d / "apr" / "config.json").write_text('{"task": "x"}') and [d],
            "{}/apr/config.json is not that of an evaluation: Object missing required field "
            "`controller`",
        ),
        (
            lambda d: (d / "apr" / "times.jsonl").write_text('{"id":"a"}\n') and [d],
            "{}/apr/times.jsonl, line 1: not the times of a sample (Object missing required field "
            "`repeat`); remove that line",
        ),
        (
            lambda d: (d / "apr" / "manifest.json").write_text("[]") and [d],
            "{}/apr/manifest.json is not that of an evaluation: Expected `object`, got `array`",
        ),
        (
            lambda d: (d / "apr" / "manifest.json").write_text("{") and [d],
            "{}/apr/manifest.json is not valid JSON: Input data was truncated",
        ),
        (
            lambda d: (d / "vote" / "trees.jsonl").write_text("{}\n") and [d],
            "{}/vote/trees.jsonl, line 1: not a tree (Object missing required field `id`)",
        ),
        (
            lambda d: spoilt(d / "single" / "trees.jsonl", b'"segment":1', b'"segment":9') and [d],
            "{}/single/trees.jsonl: the tree of '11 33 3 = 47', repeat 0, speaks of a thread or "
            "segment that it never opened (list index out of range); remove that line",
        ),
    ],
)
def test_what_cannot_be_read_is_named(damage: Any, message: str, tmp_path: Path) -> None:
    copytree(evaluations(), tmp_path / "in")
    with pytest.raises(UsageError) as error:
        printed(damage(tmp_path / "in"), tmp_path / "out")
    assert str(error.value) == message.format(tmp_path / "in")


JUNK = ["7", "-3", "1e300", "null", '"0.1"', "[]", "{}", '""', "99999999999999999999", "true"]


@pytest.mark.parametrize("name", ["config", "timing", "times", "manifest", "samples", "trees"])
def test_any_other_value_anywhere_is_a_page_or_one_line(name: str, tmp_path: Path) -> None:
    rng, refused = random.Random(name), 0
    copytree(evaluations() / "single", tmp_path / "in")
    path = next(tmp_path.glob(f"in/{name}.*"))
    text = path.read_text()
    values = [m.span() for m in re.finditer(r'(?<=[:\[,])-?\d[\d.]*|"[^"]*"|null|true|false', text)]
    for _ in range(40):
        start, end = rng.choice(values)
        path.write_text(text[:start] + rng.choice(JUNK) + text[end:])
        try:
            Page(summarise(read_evaluations([tmp_path]))).html()
        except UsageError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused > 0


def test_the_command(tmp_path: Path) -> None:
    places = [str(evaluations() / name) for name in ("apr", "single")]
    result = reason("report", *places, "--out", str(tmp_path / "a b"), "--trees", "3", "--json")
    assert result.exit_code == 0, result.stderr
    assert [e["folder"] for e in json.loads(result.stdout)["tasks"][0]["evaluations"]] == places
    config = tmp_path / "report.toml"
    config.write_text(f'folders = {places}\nout = "{tmp_path}/b"\njson = true\n')
    assert reason("report", str(config)).stdout == result.stdout
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        "plots",
        "report.html",
        "report.json",
        "report.md",
    }


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "which evaluations? for example: reason report runs/apr runs/single"),
        (["x", "tree=3"], "unknown key tree (did you mean trees?)"),
        (["x", "trees=-1"], "trees must be 0 or more, got -1"),
        (["x", "--prices", "none.toml"], "cannot read none.toml: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    result = reason("report", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"reason: {message}") and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('curency = "USD"', "unknown key curency (did you mean currency?); the keys are: currency"),
        ("currency = 3", "currency must be a string, got 3"),
        ("", 'there are no prices: write [models."NAME"] with prompt and sampled'),
        ("models = 3", "models must be a table, got 3"),
        ("models.x = 3", "models.x must be a table of prices, got 3"),
        ("models.x.prompt = 1", "models.x: missing sampled"),
        ('models.x = {prompt = "a", sampled = 2}', "models.x.prompt must be a number, got 'a'"),
        (
            "models.x = {prompt = -1, sampled = 2}",
            "models.x.prompt must be 0 or more for a million tokens, got -1.0",
        ),
        ('[models."a/b"]\npromt = 1', "unknown key models.a/b.promt (did you mean prompt?); the"),
    ],
)
def test_a_price_table_that_cannot_be_used(tmp_path: Path, table: str, message: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(table)
    result = reason("report", str(evaluations()), "--prices", str(file), "--out", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"reason: {file}: {message}")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as error:
        printed([evaluations()], tmp_path / "file" / "out")
    assert str(error.value) == f"cannot write to {tmp_path}/file/out: Not a directory"


def test_rows_of_the_samples_file_are_those_of_the_evaluation() -> None:
    for evaluation in read_evaluations([evaluations()]):
        lines = (evaluation.path / "samples.jsonl").read_bytes().splitlines()
        assert sorted(msgspec.json.encode(row) for row in evaluation.rows) == sorted(lines)


def test_a_report_does_not_go_into_the_folder_of_an_evaluation(tmp_path: Path) -> None:
    copytree(evaluations() / "single", tmp_path / "in")
    with pytest.raises(UsageError, match="in is the folder of an evaluation: give another for"):
        printed([tmp_path / "in"], tmp_path / "in")
    assert not (tmp_path / "in" / "report.html").exists()
