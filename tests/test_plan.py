"""`reason power`: what an evaluation could show, by what is assumed or was measured."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.power import Design, detectable, power_of, questions_needed, repeats_needed
from tests.console import reason
from tests.test_catalog import jsonl
from tests.test_compare import folder
from tests.test_metrics import graded

TABLE = """\
aime24
30 questions; assumed: 50.0% of answers are right, 60% of their variance lies
between questions, and the solve rates of two methods correlate at 0.90

smallest difference that is found with 80% power at p < 0.05, in points of 100:
repeats  samples a method  this set  questions like these
      1                30      28.5                  27.0
      2                60      18.4                  20.0
      4               120      12.6                  15.5
      8               240       8.7                  12.6
     16               480       6.1                  11.0
With 1 repeat the figure for this set is a cautious bound: one sample does not
tell how much of a question is luck, and smaller differences may be found.
5 points, this set: found with 62% power; 80% takes 24 repeats or 44 questions
5 points, questions like these: found with 23% power; 80% takes no number of
repeats or 138 questions
"""


def planned(*words: str) -> dict[str, Any]:
    result = reason("power", *words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    (found,) = json.loads(result.stdout)["plans"]
    assert isinstance(found, dict)
    return found


def refused(*words: str) -> str:
    result = reason("power", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("reason: ") and result.stderr.count("\n") == 1
    return result.stderr.removeprefix("reason: ").rstrip()


def test_the_table_of_one_aime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = reason("power", "aime24", "--repeats", "16", "difference=0.05")
    assert (found.exit_code, found.stderr) == (0, "")
    assert "\n".join(line.rstrip() for line in found.stdout.splitlines()) == TABLE
    several = reason("power", "aime24:2,countdown4").stdout
    assert re.findall(r"^(?:aime24|countdown4|\d+ questions)", several, re.MULTILINE) == [
        "aime24", "30 questions", "countdown4", "200 questions",
    ]  # fmt: skip


def test_every_figure_for_machines() -> None:
    design = Design(40, 0.7, 0.4, 0.8)
    assert planned("amc23:3", "accuracy=0.7", "icc=0.4", "correlation=0.8", "difference=0.1") == {
        "task": "amc23",
        "repeats": 3,
        "assumed": {"questions": 40, "accuracy": 0.7, "icc": 0.4, "correlation": 0.8},
        "like": [],
        "detectable": [
            {
                "repeats": n,
                "samples": 40 * n,
                "this_set": detectable(design, n, "this_set"),
                "like_these": detectable(design, n, "like_these"),
            }
            for n in (1, 2, 3)
        ],
        "difference": {
            "value": 0.1,
            "this_set": {
                "power": power_of(design, 0.1, 3, "this_set"),
                "repeats_needed": repeats_needed(design, 0.1, "this_set"),
                "questions_needed": questions_needed(design, 0.1, 3, "this_set"),
            },
            "like_these": {
                "power": power_of(design, 0.1, 3, "like_these"),
                "repeats_needed": repeats_needed(design, 0.1, "like_these"),
                "questions_needed": questions_needed(design, 0.1, 3, "like_these"),
            },
        },
    }


def test_how_many_questions_there_are(tmp_path: Path) -> None:
    rows = [{"problem": f"P{n}", "answer": "1"} for n in range(7)]
    own = str(jsonl(tmp_path / "own.jsonl", *rows))
    found = {
        words: (plan["assumed"]["questions"], plan["repeats"])
        for words in (("aime24",), ("math500:2", "limit=50"), ("countdown4",), (own, "repeats=3"))
        for plan in [planned(*words)]
    }
    assert found == {
        ("aime24",): (30, 16),
        ("math500:2", "limit=50"): (50, 2),
        ("countdown4",): (200, 1),
        (own, "repeats=3"): (7, 3),
    }


def test_what_evaluations_tell(tmp_path: Path) -> None:
    """Against the truth they were drawn with, and the analysis of variance of the samples."""
    rng = np.random.default_rng(3)
    questions, n, correlation = 400, 8, 0.6
    normal = rng.normal(size=(questions, 2))
    normal[:, 1] = correlation * normal[:, 0] + (1 - correlation**2) ** 0.5 * normal[:, 1]
    rates = np.clip(0.5 + 0.2 * normal, 0, 1)
    marks = rng.random((questions, 2, n)) < rates[:, :, None]
    places = [
        folder(
            tmp_path / name,
            graded(*("".join("01"[int(m)] for m in q[at]) for q in marks)),
            name,
        )
        for at, name in enumerate(("a", "b"))
    ]
    icc = []
    for at in (0, 1):
        of = marks[:, at, :].astype(float)
        between = n * of.mean(axis=1).var(ddof=1)
        within = float(((of - of.mean(axis=1, keepdims=True)) ** 2).sum() / (questions * (n - 1)))
        sigma = (between - within) / n
        icc.append(float(sigma / (sigma + within)))
    one = planned("math500:4", f"like={places[0]}")
    assert one["like"] == [str(places[0])]
    assert one["assumed"] == {
        "questions": 500,
        "accuracy": pytest.approx(marks[:, 0, :].mean()),
        "icc": pytest.approx(icc[0]),
        "correlation": 0.9,
    }
    both = planned("math500:4", "--like", f"{places[0]},{places[1]}")["assumed"]
    assert both["icc"] == pytest.approx((icc[0] + icc[1]) / 2)
    true = float(np.corrcoef(rates.T)[0, 1])
    assert both["correlation"] == pytest.approx(true, abs=0.06)
    attenuated = float(np.corrcoef(marks.mean(axis=2).T)[0, 1])
    assert attenuated < true - 0.1, "what the shares of samples would have said"
    own = planned("math500:4", f"like={places[0]}", "icc=0.2", "accuracy=0.9")["assumed"]
    assert (own["icc"], own["accuracy"]) == (0.2, 0.9)
    said = reason("power", "aime24", "--like", str(places[0])).stdout
    assert f"as in {places[0]}:" in " ".join(said.split())
    assert "correlate at 0.90 (assumed)" in " ".join(said.split())
    said = reason("power", "aime24", "--like", f"{places[0]},{places[1]}").stdout
    assert "(assumed)" not in said and "correlate at" in " ".join(said.split())


def test_folders_that_do_not_tell(tmp_path: Path) -> None:
    once = folder(tmp_path / "once", graded("1", "0", "1"), "x")
    certain = folder(tmp_path / "certain", graded("11", "11"), "x")
    empty = folder(tmp_path / "empty", [], "x")
    a = folder(tmp_path / "pair" / "a", graded("11", "10"), "x")
    b = folder(tmp_path / "pair" / "b", graded("11", "10", "00"), "y")
    c = folder(tmp_path / "c", graded("11", "10", "00"), "z")
    assert refused("aime24", "like=none") == "none does not exist: give the folder of an evaluation"
    assert refused("aime24", f"like={empty}") == (
        f"{empty} has no sample yet: run the evaluation first"
    )
    assert refused("aime24", f"like={once}") == (
        f"{once} does not tell what varies between questions from what varies within: that takes "
        "two questions or more with two samples each or more; evaluate TASK:REPEATS, or give "
        "icc=SHARE"
    )
    assert planned("aime24", f"like={once}", "icc=0.5")["assumed"]["accuracy"] == 2 / 3
    assert refused("aime24", f"like={certain}") == (
        f"{certain}: all of the samples are right, which tells nothing of what varies; "
        "give accuracy=SHARE"
    )
    assert refused("aime24", f"like={a},{b}").startswith("a paired comparison needs the same quest")
    assert refused("aime24", f"like={tmp_path / 'pair'},{c}") == (
        f"like takes one evaluation, or two of the same questions; got 3: {a}, {b}, {c}"
    )


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    for words, said in (
        ((), "which task? for example: reason power aime24 --repeats 16"),
        (("aime99",), "no task is called 'aime99'; there is: countdown3, "),
        (("aime24:x",), "expected TASK:REPEATS with repeats of 1 or more, got 'aime24:x'"),
        (("aime24", "repeats=0"), "repeats must be 1 or more, got 0"),
        (("aime24", "repeats=many"), "repeats must be an integer, got 'many'"),
        (("aime24", "limit=31"), "limit must be 2 to 30, all that aime24 has, got 31"),
        (("countdown4", "limit=1"), "limit must be 2 or more, got 1"),
        (("aime24", "accuracy=40"), "accuracy must be a share between 0 and 1, such as 0.5, got "),
        (("aime24", "icc=-1"), "icc must be 0 to 1, got -1"),
        (("aime24", "correlation=x"), "correlation must be a number, got 'x'"),
        (("aime24", "difference=0.6"), "difference must be above 0, and at most 0.5 where the acc"),
        (("aime24", "k=3"), "unknown key k; the keys are: accuracy, correlation"),
    ):
        assert refused(*words).startswith(said), words
