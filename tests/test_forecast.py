"""What a sweep will take is said before it is paid for."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.sweep import RECIPES
from tests import tiny
from tests.console import reason
from tests.data import needs_data, path

STUDY = """
task = "aime24:2,math500"
sampling.max_tokens = 1000
method = [
    {controller = "single"},
    {controller = "self_consistency", n = 8},
    {controller = "apr"},
    {controller = "apr", budget.total_tokens = 1500},
]
[plan]
speed = 500
tokens.aime24 = 900
tokens.default = 3000
chains.apr = 4
"""


def foretold(*words: str) -> list[dict[str, Any]]:
    result = reason("sweep", *words, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["cells"]
    return found


def test_every_figure_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    rows = {(row["cell"], row["task"]): row for row in foretold(str(file))}
    budget = "apr,budget.total_tokens=1500"
    aime, math = 30 * 2, 500 * 4
    expected: dict[tuple[str, str], tuple[int, float, float | None]] = {
        ("single", "aime24"): (aime, aime * 900, aime * 1000),
        ("single", "math500"): (math, math * 1000, math * 1000),  # cut at max_tokens
        ("self_consistency,n=8", "aime24"): (aime, aime * 900 * 8, aime * 8000),
        ("self_consistency,n=8", "math500"): (math, math * 8000, math * 8000),
        ("apr", "aime24"): (aime, aime * 900 * 4, None),
        ("apr", "math500"): (math, math * 4000, None),
        (budget, "aime24"): (aime, aime * 1500, aime * 1500),
        (budget, "math500"): (math, math * 1500, math * 1500),
    }
    found = {key: (r["samples"], r["tokens"], r["most"]) for key, r in rows.items()}
    assert found == expected
    assert all(r["hours"] == pytest.approx(r["tokens"] / 500 / 3600) for r in rows.values())
    shown = reason("sweep", str(file), "--dry-run").stdout
    assert "no limit" in shown and f"{4 * (aime + math):,}" in shown


def test_without_assumptions_only_the_most_is_known(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(STUDY.partition("[plan]")[0])
    assert {(r["tokens"], r["hours"]) for r in foretold(str(file))} == {(None, None)}
    shown = reason("sweep", str(file), "--dry-run").stdout
    assert "?" in shown


def test_a_dry_run_leaves_nothing_behind_and_takes_a_limit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = foretold("countdown_study", "limit=7", "--out", str(out))
    assert {row["samples"] for row in rows} == {7} and not out.exists()


REPLAYED = "countdown_votes.toml"
"""What it takes is not known before there is something to replay."""


@pytest.mark.parametrize(
    "name", sorted(file.name for file in RECIPES.glob("*.toml") if file.name != REPLAYED)
)
def test_every_sweep_that_ships_can_be_foretold(name: str) -> None:
    rows = foretold(name)
    assert all(row["tokens"] and row["hours"] for row in rows)
    methods = {row["cell"].partition(",")[0] for row in rows}
    ours = {"apr", "threadweaver", "pdr", "sr", "budget_forcing"}
    votes = {"self_consistency", "best_of_n", "adaptive_consistency", "confidence"}
    expected = {
        "countdown_chains.toml": {"single"},
        "countdown_study.toml": ours | {"single"},
        "countdown_search.toml": {"confidence", "tournament", "beam", "self_consistency"},
    }
    assert methods == expected.get(name, ours | votes | {"single"})


def test_a_sweep_of_replays_says_what_it_lacks() -> None:
    result = reason("sweep", REPLAYED, "--dry-run")
    assert result.exit_code == 2
    assert "runs/chains/single,seed=0,width=8 is no recording" in result.stderr


@pytest.mark.parametrize(
    "word, message",
    [
        ("plan.speed=0", "plan.speed must be above 0, got 0"),
        ("plan.tokens=3", "plan.tokens has keys of its own: plan.tokens.KEY, got '3'"),
        ("plan.tokens.x=a", "plan.tokens.x must be a number, got 'a'"),
        ("plan.x=1", "unknown key plan.x; the keys are: chains, speed, tokens"),
    ],
)
def test_mistakes_are_one_line(word: str, message: str) -> None:
    result = reason("sweep", "countdown_study", "--dry-run", word)
    assert (result.exit_code, result.stderr) == (2, f"reason: {message}\n")
    unknown = reason("sweep", "countdown_studi")
    assert unknown.exit_code == 2
    assert "there is no sweep 'countdown_studi'; with the package come: aime_" in unknown.stderr


@needs_data
def test_the_mathematics_of_a_large_model_on_a_small_one(tmp_path: Path) -> None:
    """The recipe from end to end, on copies of the real questions: all wrong, and all counted."""
    model = tmp_path / "model"
    tiny.general(model)
    task = ",".join(f"{name}@{path(f'math/{name}.jsonl')}:2" for name in ("aime24", "math500"))
    out = tmp_path / "out"
    short = ("limit=2", "sampling.max_tokens=24", "budget.total_tokens=300")
    words = (*short, "--out", str(out))
    result = reason("sweep", "aime_math_qwen3_8b", f"backend=hf:{model}", f"task={task}", *words)
    assert result.exit_code == 0, result.stderr
    found = [json.loads(file.read_text()) for file in out.glob("*/*/metrics.json")]
    assert len(found) == 20
    for metrics in found:
        assert (metrics["samples"], metrics["questions"]) == (4, 2)
        assert metrics["accuracy"]["value"] == 0 and metrics["errors"] == 0
