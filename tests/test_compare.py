"""`reason compare`: folders by hand, every figure against one computed another way."""

import json
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from eval.contrast import Contrast, chosen, contrasts
from eval.intervals import mover, paired, paired_bounded, this_set
from eval.samples import Sample
from tests.console import reason
from tests.reported import evaluations
from tests.test_metrics import graded, sample

NO_BUDGET = ("critical_path=", "total_tokens=")
TABLE = """\
countdown3
A  apr
B  single
6 questions, 2 samples of each by A and 2 by B

right within         A    B A - B for                   95%     p  Holm
no limit          50.0 58.3  -8.3 like these [-41.6, +27.8] 1.000 1.000
                                  this set   [-41.6, +27.8] 1.000 1.000
critical path 40   0.0 41.7 -41.7 like these  [-68.0, +3.3]  .062  .125
                                  this set    [-68.0, -8.7]  .062  .125
critical path 100 33.3 58.3 -25.0 like these  [-49.6, +6.6]  .250  .250
                                  this set   [-54.7, +13.2]  .444  .444

In points of 100, with 95% intervals: questions like these, and this very set.
Within a budget, what cost more counts as wrong. Holm: p adjusted for 2
comparisons within budgets.
"""


def folder(
    path: Path, rows: Sequence[Sample], method: str = "single", task: str = "t", **left: Any
) -> Path:
    """An evaluation as `reason eval` leaves it, as far as a comparison reads it."""
    path.mkdir(parents=True)
    config = {
        "task": task,
        "limit": len({row.id for row in rows}),
        "repeats": 1,
        "controller": {"name": method},
        "backends": {"policy": {"model": "m"}},
        **left,
    }
    (path / "config.json").write_text(json.dumps(config))
    lines = (msgspec.json.encode(row).decode() + "\n" for row in rows)
    (path / "samples.jsonl").write_text("".join(lines))
    (path / "metrics.json").write_text("{}")
    return path


def by_json(*words: str) -> list[dict[str, Any]]:
    result = reason("compare", *words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(result.stdout)["contrasts"]
    return found


def refused(*words: str) -> str:
    result = reason("compare", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("reason: ") and result.stderr.count("\n") == 1
    return result.stderr.removeprefix("reason: ").rstrip()


def test_the_table_of_two_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    root = evaluations()
    found = reason(
        "compare", str(root / "apr"), str(root / "single"), "critical_path=100,40", "total_tokens="
    )
    assert (found.exit_code, found.stderr) == (0, "")
    assert "\n".join(line.rstrip() for line in found.stdout.splitlines()) + "\n" == TABLE


def test_every_figure_for_machines(tmp_path: Path) -> None:
    """p-values by trying every arrangement: signs of questions, and labels within each."""
    marks = ["110", "111", "100", "111"], ["100", "110", "000", "001"]
    a = folder(tmp_path / "a", graded(*marks[0]), "apr")
    b = folder(tmp_path / "b", graded(*marks[1]))
    x, y = ([sum(map(int, of)) / 3 for of in side] for side in marks)
    differences = [p - q for p, q in zip(x, y, strict=True)]
    flips = [sum(s * d for s, d in zip(signs, differences, strict=True))
             for signs in product((1, -1), repeat=4)]  # fmt: skip
    p = sum(abs(flip) >= abs(sum(differences)) - 1e-9 for flip in flips) / 16
    within = 0.0
    for won in product(range(4), repeat=4):  # right samples of each question that fall to A
        right = [round(3 * (s + t)) for s, t in zip(x, y, strict=True)]
        chance = 1.0
        for k, of in zip(won, right, strict=True):
            chance *= float(stats.hypergeom(6, of, 3).pmf(k))
        moved = sum(k - (of - k) for k, of in zip(won, right, strict=True)) / 3
        within += chance * (abs(moved) >= abs(sum(differences)) - 1e-9)
    three, (u, v) = np.full(4, 3), (np.array(x), np.array(y))
    one, two = this_set(u, three), this_set(v, three)
    assert one and two
    low, high = paired(u, three, v, three)
    set_low, set_high = mover(float(u.mean()), one, float(v.mean()), two)
    (found,) = by_json(str(a), str(b), *NO_BUDGET)
    assert found == {
        "task": "t",
        "score": "avg",
        "first": {"label": "apr", "folder": str(a), "samples": "3", "finished": True},
        "other": {"label": "single", "folder": str(b), "samples": "3", "finished": True},
        "questions": 4,
        "groups": None,
        "comparisons": [
            {
                "figure": None,
                "budget": None,
                "first": pytest.approx(9 / 12),
                "other": pytest.approx(4 / 12),
                "difference": pytest.approx(5 / 12),
                "like_these": {
                    "low": pytest.approx(low),
                    "high": pytest.approx(high),
                    "p_value": pytest.approx(p),
                    "holm": pytest.approx(p),
                    "test": "sign-flip permutation",
                },
                "this_set": {
                    "low": pytest.approx(set_low),
                    "high": pytest.approx(set_high),
                    "p_value": pytest.approx(within),
                    "holm": pytest.approx(within),
                    "test": "permutation within questions",
                },
            }
        ],
        "remarks": [],
    }


def test_what_k_samples_are_worth_is_compared(tmp_path: Path) -> None:
    """By counting every choice of k samples, and trying every sign of the questions."""
    marks = ["1100", "1110", "0001", "1000", "1111"], ["1000", "1100", "0000", "1100", "1110"]
    answers = {"1": "7", "0": "8"}
    sides = [
        [sample(f"q{q}", r, m == "1", answer=answers[m], critical_path=10 + r)
         for q, of in enumerate(side) for r, m in enumerate(of)]
        for side in marks
    ]  # fmt: skip
    a, b = (folder(tmp_path / name, of, name) for name, of in zip("ab", sides, strict=True))

    def worth(figure: str, of: str) -> float:
        chosen = ["".join(three) for three in combinations(of, 3)]
        if figure == "pass@3":
            return float(np.mean(["1" in three for three in chosen]))
        return float(np.mean([three.count("1") > three.count("0") for three in chosen]))

    for figure in ("pass@3", "maj@3"):
        x, y = (np.array([worth(figure, of) for of in side]) for side in marks)
        flips = [abs(float((x - y) @ np.array(s))) for s in product((1, -1), repeat=5)]
        p = float(np.mean([flip >= abs((x - y).sum()) - 1e-9 for flip in flips]))
        low, high = paired_bounded(x, y)
        (found,) = by_json(str(a), str(b), f"score={figure}", *NO_BUDGET)
        assert (found["score"], found["comparisons"]) == (
            figure,
            [
                {
                    "figure": None,
                    "budget": None,
                    "first": pytest.approx(x.mean()),
                    "other": pytest.approx(y.mean()),
                    "difference": pytest.approx((x - y).mean()),
                    "like_these": {
                        "low": pytest.approx(low),
                        "high": pytest.approx(high),
                        "p_value": pytest.approx(p),
                        "holm": pytest.approx(p),
                        "test": "sign-flip permutation",
                    },
                    "this_set": None,
                }
            ],
        )
    (found,) = by_json(str(a), str(b), "score=pass@4", "critical_path=11", "total_tokens=")
    within = found["comparisons"][1]
    assert (within["first"], within["other"]) == (0.8, 0.8), "of the first two samples only"
    shown = reason("compare", str(a), str(b), "score=maj@3", *NO_BUDGET).stdout
    assert "score: maj@3" in shown and "this set  " not in shown
    assert refused(str(a), str(b), "score=maj@5") == (
        "k must be 1 to 4, the samples of question 'q0', got 5"
    )
    for wrong in ("maj", "maj@0", "best@2", "pass@x", ""):
        assert refused(str(a), str(b), f"score={wrong}") == (
            f"score must be avg, pass@K or maj@K, such as maj@4, got {wrong!r}"
        )


def test_several_are_held_against_the_first_and_their_p_values_adjusted(tmp_path: Path) -> None:
    """Holm written out: the smallest times 3, the next times 2, and never falling."""
    rows = [
        graded(*marks) for marks in ("1" * 20, "1" * 9 + "0" * 11, "1" * 13 + "0" * 7, "1" * 20)
    ]
    places = [folder(tmp_path / name, of, name) for name, of in zip("abcd", rows, strict=True)]
    found = by_json(*map(str, places), *NO_BUDGET)
    assert [(one["first"]["label"], one["other"]["label"]) for one in found] == [
        ("a", "b"), ("a", "c"), ("a", "d"),
    ]  # fmt: skip
    figures = [one["comparisons"][0]["like_these"] for one in found]
    b, c = 2 / 2**11, 2 / 2**7  # McNemar: all of the discordant pairs on one side
    assert [of["p_value"] for of in figures] == pytest.approx([b, c, 1.0])
    assert [of["holm"] for of in figures] == pytest.approx([3 * b, 2 * c, 1.0])
    assert {of["test"] for of in figures} == {"McNemar exact"}
    assert found[0]["remarks"] == [
        "an interval for this set needs two samples of every question or more: "
        "evaluate TASK:REPEATS"
    ]
    assert found[0]["comparisons"][0]["this_set"]["low"] is None


def test_within_a_budget_what_cost_more_is_wrong(tmp_path: Path) -> None:
    """A is always right and dear, B is right half the time and cheap."""
    dear = [sample(str(q), 0, True, critical_path=100, total_tokens=900) for q in range(8)]
    cheap = [sample(str(q), 0, q % 2 == 0, critical_path=90, total_tokens=90) for q in range(8)]
    a, b = folder(tmp_path / "a", dear, "x"), folder(tmp_path / "b", cheap, "y")
    (found,) = by_json(str(a), str(b), "critical_path=95,.1k", "total_tokens=1k")
    assert [
        (of["figure"], of["budget"], of["first"], of["other"], of["difference"])
        for of in found["comparisons"]
    ] == [
        (None, None, 1.0, 0.5, 0.5),
        ("critical_path", 95.0, 0.0, 0.5, -0.5),
        ("critical_path", 100.0, 1.0, 0.5, 0.5),
        ("total_tokens", 1000.0, 1.0, 0.5, 0.5),
    ]
    like = [of["like_these"] for of in found["comparisons"]]
    assert [of["p_value"] for of in like] == pytest.approx([0.125] * 4)
    assert [of["holm"] for of in like] == pytest.approx([0.125, 0.375, 0.375, 0.375])


def test_budgets_are_chosen_by_what_runs_cost() -> None:
    assert chosen(list(range(1, 1001))) == (250, 500, 750, 950)
    assert chosen([1234.0] * 10) == (), "all cost the same"
    assert chosen([7.0, 7.0, 8.0, 8.0]) == (7.0,), "8 is no limit"
    assert chosen([0.0, 0.0, 0.0, 1234.0, 5000.0]) == (1200.0,), "0 tokens are no budget"


def test_tasks_of_the_same_name_belong_together(tmp_path: Path) -> None:
    for method, marks in (("x", "1110"), ("y", "1000")):
        for task in ("one", "two"):
            folder(tmp_path / method / task, graded(*marks), method, task)
    folder(tmp_path / "x" / "three", graded("1", "0"), "x", "three")
    found = by_json(str(tmp_path / "x"), str(tmp_path / "y"), *NO_BUDGET)
    assert [(one["task"], one["comparisons"][0]["difference"]) for one in found] == [
        ("one", 0.5), ("two", 0.5),
    ]  # fmt: skip
    assert found[0]["remarks"][-1] == "not in all of the folders, and left out: three"
    (found,) = by_json(str(tmp_path / "x" / "one"), str(tmp_path / "y"), *NO_BUDGET)
    assert (found["task"], found["remarks"][-1][-3:]) == ("one", "two")


def test_what_a_reader_must_know(tmp_path: Path) -> None:
    rows = graded("11", "10", "00")
    a = folder(tmp_path / "a", rows, "x", repeats=3)
    (a / "metrics.json").unlink()
    failing = [
        *graded("11", "10"),
        sample("q2", 0, answer=None, failed=True, error="gone"),
        sample("q2", 1),
    ]
    b = folder(tmp_path / "b", failing, "y")
    (found,) = by_json(str(a), str(b), *NO_BUDGET)
    assert found["remarks"] == [
        "x is unfinished: 6 of 9 samples",
        "y: the model failed in 1 samples, which count",
    ]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", graded("11", "10", "00"), "x")
    other = [sample(f"p{n}", r) for n in range(5) for r in range(2)]
    b = folder(tmp_path / "b", [*graded("11"), *other], "y")
    empty = folder(tmp_path / "empty", [], "z")
    alone = [folder(tmp_path / name, graded("11"), name) for name in ("m", "n")]
    (tmp_path / "nothing").mkdir()
    assert refused() == "which evaluations? for example: reason compare runs/apr runs/single"
    assert refused(str(a)) == refused()
    assert refused(str(a), str(tmp_path / "none")) == (
        f"{tmp_path}/none does not exist: give the folder of an evaluation"
    )
    assert refused(str(a), str(tmp_path / "nothing")).startswith(f"{tmp_path}/nothing holds no ev")
    assert refused(str(a), str(empty)) == f"{empty} has no sample yet: run the evaluation first"
    assert refused(str(a), str(a)) == f"{a} is given twice; a comparison needs different folders"
    assert refused(str(a), str(b)) == (
        "a paired comparison needs the same questions on both sides, and 1 are shared: only "
        f"{a} holds 'q1', 'q2'; only {b} holds 'p0', 'p1', 'p2' and 2 more"
    )
    assert refused(*map(str, alone)) == "a paired comparison needs at least two questions, got 1"
    assert refused(str(a), str(tmp_path)).startswith(f"{a} is given twice")
    for figure in ("critical_path", "total_tokens"):
        assert refused(str(a), str(b), f"{figure}=4k,many") == (
            f"{figure}[1] must be a number, got 'many'"
        )
        for wrong in ("0", "-3", "nan", "inf"):
            assert refused(str(a), str(b), f"{figure}={wrong}") == (
                f"{figure} must be numbers of tokens above 0, such as 1k,4k; got {wrong}"
            )
    assert refused(str(a), str(b), "budget=3").startswith("unknown key budget; the keys are: ")


def test_folders_that_hold_several_evaluations_of_a_task(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder(tmp_path / "x" / name, graded("11", "10"), "x")
    y = folder(tmp_path / "y", graded("11", "10"), "y")
    assert refused(str(tmp_path / "x"), str(y)) == (
        f"{tmp_path}/x holds several evaluations of t, {tmp_path}/x/one and {tmp_path}/x/two: "
        "give one of them"
    )
    folder(tmp_path / "z" / "u", graded("11", "10"), "z", "u")
    folder(tmp_path / "z" / "v", graded("11", "10"), "z", "v")
    assert refused(str(tmp_path / "z"), str(y)) == (
        f"no task is in all of the folders: {tmp_path}/z holds u, v; {y} holds t"
    )


def test_a_difference_that_is_there_is_found_and_none_where_there_is_none(tmp_path: Path) -> None:
    """A control: the same rows under two names differ in nothing, and better ones clearly."""
    rows = graded(*["1100"] * 15, *["1110"] * 15)
    better = graded(*["1111"] * 15, *["1110"] * 15)
    a, same, b = (
        folder(tmp_path / name, of, name)
        for name, of in (("a", rows), ("same", rows), ("b", better))
    )
    equal, found = contrasts([a, same, b], {"critical_path": (), "total_tokens": ()})
    assert _first(equal) == (0.0, 1.0, pytest.approx(1.0))
    difference, like, this = _first(found)
    assert difference == pytest.approx(-0.25) and like < 1e-3 and this < 1e-3


def _first(contrast: Contrast) -> tuple[float, float, float]:
    (row,) = contrast.rows
    return row.difference.mean, row.difference.p_value, row.difference.this_set.p_value


def test_no_budgets_are_chosen_where_none_would_tell(tmp_path: Path) -> None:
    a, b = (folder(tmp_path / n, graded("11", "10"), n) for n in "ab")
    assert [len(one.rows) for one in contrasts([a, b], {})] == [1], "all cost the same"
