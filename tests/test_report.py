"""Reports: what several evaluations add up to, as figures, tables and files."""

import json
import random
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.curves import POINTS, curve, curves
from eval.folders import read_evaluations
from eval.intervals import like_these
from eval.plots import draw
from eval.summary import pareto, summarise
from tests.reported import PRICES, SECONDS, evaluations, printed
from tests.test_metrics import graded

TABLE = """\
countdown3
results
method                  right [95%] critical path total tokens wall clock, s
apr              50.0% [25.4, 74.6]            82          129        0.375◆
single           58.3% [32.0, 80.7]           43◆          43◆        0.750◆
self_consistency 75.0% [46.8, 91.1]           44◆         127◆         1.50◆

cost, mean of a run
method           prompt cached sampled USD a run a right answer  in all
apr                 117      0     129  0.000633        0.00127 0.00759
single                9      0      43  0.000180       0.000309 0.00216
self_consistency     27      0     127  0.000534       0.000712 0.00641

how runs ended
                                      wrong                       hit the
method           samples spawned     answer no answer truncated    budget errors
apr                   12  100.0%      25.0%     25.0%      0.0%      0.0%      0
single                12    0.0%      33.3%      8.3%      0.0%      0.0%      0
self_consistency      12  100.0%      25.0%      0.0%      0.0%      0.0%      0

Shares are of all samples, costs means over problems; ◆: on the Pareto front,
nothing else here is as often right for less.
OUT/report.html holds 36 of 36 thread trees; beside it: report.md, report.json, plots/
"""
MARKDOWN = """\
# Evaluation report

## countdown3

**Results**

| method | right \\[95%\\] | critical path | total tokens | wall clock, s |
| --- | ---: | ---: | ---: | ---: |
| apr | 50.0% [25.4, 74.6] | 82 | 129 | 0.375◆ |
| single | 58.3% [32.0, 80.7] | 43◆ | 43◆ | 0.750◆ |
| self\\_consistency | 75.0% [46.8, 91.1] | 44◆ | 127◆ | 1.50◆ |

**Cost, mean of a run**

| method | prompt | cached | sampled | USD a run | a right answer | in all |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| apr | 117 | 0 | 129 | 0.000633 | 0.00127 | 0.00759 |
| single | 9 | 0 | 43 | 0.000180 | 0.000309 | 0.00216 |
| self\\_consistency | 27 | 0 | 127 | 0.000534 | 0.000712 | 0.00641 |

**How runs ended**

| method | samples | spawned | wrong answer | no answer | truncated | hit the budget | errors |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| apr | 12 | 100.0% | 25.0% | 25.0% | 0.0% | 0.0% | 0 |
| single | 12 | 0.0% | 33.3% | 8.3% | 0.0% | 0.0% | 0 |
| self\\_consistency | 12 | 100.0% | 25.0% | 0.0% | 0.0% | 0.0% | 0 |

![countdown3-accuracy-critical_path](plots/countdown3-accuracy-critical_path.svg)

![countdown3-within-critical_path](plots/countdown3-within-critical_path.svg)

![countdown3-accuracy-total_tokens](plots/countdown3-accuracy-total_tokens.svg)

![countdown3-within-total_tokens](plots/countdown3-within-total_tokens.svg)

![countdown3-accuracy-seconds](plots/countdown3-accuracy-seconds.svg)

![countdown3-within-seconds](plots/countdown3-within-seconds.svg)

Shares are of all samples, costs means over problems; ◆: on the Pareto front, nothing else here is \
as often right for less.
"""
RECORD: dict[str, Any] = {
    "label": "self_consistency",
    "method": "self_consistency",
    "models": {"policy": "oracle"},
    "finished": True,
    "samples": 12,
    "expected": 12,
    "questions": 6,
    "accuracy": {"value": 0.75, "low": 0.467695, "high": 0.911058},
    "this_set": [0.467695, 0.911058],
    "critical_path": {"value": 43.666667, "low": 15.737742, "high": 71.595591},
    "total_tokens": {"value": 126.833333, "low": 43.05861, "high": 210.608057},
    "seconds": {"value": 1.5, "low": 1.5, "high": 1.5},
    "longest_sequence": 52.666667,
    "threads": 4.0,
    "tokens": {"prompt": 324, "cached": 0, "sampled": 1522},
    "wall_clock": 9.0,
    "at_once": 2.0,
    "money": {"total": 0.006412, "per_run": 0.000534, "per_right_answer": 0.000712},
    "shares": {
        "spawned": 1.0,
        "false_claims": 0.25,
        "unanswered": 0.0,
        "truncated": 0.0,
        "limited": 0.0,
    },
    "errors": 0,
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What was printed, and the folder."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "prices.toml").write_text(PRICES)
    text = printed([evaluations()], folder / "out", prices=folder / "prices.toml")
    return text, folder / "out"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_no_other_beats(points: list[tuple[float, float]]) -> None:
    def beaten(cost: float, worth: float) -> bool:
        return any(c <= cost and w >= worth and (c < cost or w > worth) for c, w in points)

    front = pareto(points)
    assert sorted(front) == [i for i, point in enumerate(points) if not beaten(*point)]
    assert [points[i] for i in front] == sorted(points[i] for i in front)


@given(st.integers(0, 1000))
def test_accuracy_within_a_budget_is_that_of_the_runs_cut_off_there(seed: int) -> None:
    rng = random.Random(seed)
    rows = [row for row in graded("0110", "1", "011", "1111", "000") if rng.random() < 0.8]
    rows = rows or graded("1")
    spent = [float(rng.randrange(5)) for _ in rows]
    found = curve("x", rows, spent, range(5))
    for budget in range(5):
        within: dict[str, list[bool]] = {}
        for row, cost in zip(rows, spent, strict=True):
            within.setdefault(row.id, []).append(row.correct and cost <= budget)
        means = [float(np.mean(of)) for of in within.values()]
        expected = like_these(means, [len(of) for of in within.values()])
        assert found.values[budget] == pytest.approx(np.mean(means))
        assert (found.low[budget], found.high[budget]) == pytest.approx(expected)


def test_a_curve_ends_at_the_accuracy_and_has_a_point_for_every_cost() -> None:
    (group,) = summarise(read_evaluations([evaluations()]))
    found = curves(group.summaries, "critical_path")
    costs = {row.critical_path for s in group.summaries for row in s.evaluation.rows}
    assert found.budgets == sorted(costs) and len(costs) <= POINTS
    for of, summary in zip(found.curves, group.summaries, strict=True):
        share = summary.accuracy
        assert (of.values[-1], of.low[-1], of.high[-1]) == (share.value, share.low, share.high)
        assert of.values == sorted(of.values)


def test_the_tables_in_a_terminal(report: tuple[str, Path]) -> None:
    assert report[0] == TABLE
    assert max(map(len, report[0].splitlines()[:-1])) <= 80


def test_the_tables_in_markdown(report: tuple[str, Path]) -> None:
    assert (report[1] / "report.md").read_text() == MARKDOWN
    pictures = [line.partition("(")[2][:-1] for line in MARKDOWN.splitlines() if line[:1] == "!"]
    assert len(pictures) == 6 and all((report[1] / name).is_file() for name in pictures)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [rounded(of) for of in value]
    return round(value, 6) if isinstance(value, float) else value


def test_one_object_for_machines(report: tuple[str, Path]) -> None:
    found = json.loads((report[1] / "report.json").read_text())
    (task,) = found.pop("tasks")
    assert found == {"currency": "USD"}
    vote = rounded(task["evaluations"].pop())
    assert vote.pop("folder") == str(evaluations() / "vote")
    assert vote == RECORD
    assert [e["label"] for e in task.pop("evaluations")] == ["apr", "single"]
    assert task == {
        "task": "countdown3",
        "empty": [],
        "pareto": {
            "critical_path": ["single", "self_consistency"],
            "total_tokens": ["single", "self_consistency"],
            "seconds": ["apr", "single", "self_consistency"],
        },
        "remarks": [],
    }


def test_what_it_says_is_what_the_rows_say(report: tuple[str, Path]) -> None:
    found = json.loads((report[1] / "report.json").read_text())["tasks"][0]["evaluations"]
    for of, name in zip(found, SECONDS, strict=True):
        lines = (evaluations() / name / "samples.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        right = sum(row["correct"] for row in rows)
        tokens = sum(row["total_tokens"] for row in rows)
        paid = (sum(row["prompt_tokens"] for row in rows) + 4 * tokens) / 1e6
        assert of["accuracy"]["value"] == pytest.approx(right / len(rows))
        assert of["total_tokens"]["value"] == pytest.approx(tokens / len(rows))
        assert of["seconds"]["value"] == pytest.approx(1.5 * SECONDS[name])
        assert of["at_once"] == pytest.approx(2)
        assert of["money"]["total"] == pytest.approx(paid)
        assert of["money"]["per_right_answer"] == pytest.approx(paid / right)


def test_the_plots_as_files(report: tuple[str, Path], tmp_path: Path) -> None:
    names = sorted(path.name for path in (report[1] / "plots").iterdir())
    assert names == sorted(
        f"countdown3-{kind}-{cost}.{suffix}"
        for kind in ("accuracy", "within")
        for cost in ("critical_path", "total_tokens", "seconds")
        for suffix in ("png", "svg")
    )
    (tmp_path / "countdown9-within-seconds.svg").touch()  # of an earlier report
    draw(summarise(read_evaluations([evaluations()])), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        data = (report[1] / "plots" / name).read_bytes()
        assert data == (tmp_path / name).read_bytes(), "the same figures, the same file"
        if name.endswith("png"):
            assert data.startswith(b"\x89PNG\r\n") and len(data) > 10_000
        else:
            words = "".join(ET.fromstring(data).itertext())
            assert "self_consistency" in words and "countdown3" in words
