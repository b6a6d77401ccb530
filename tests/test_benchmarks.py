"""What benchmarks are made of: paired statistics, and trees that come out as planned."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.adaptive_widths import asked_for
from benchmarks.engine import Instant
from benchmarks.gpu.shapes import PLANS, Grow, InSequence
from benchmarks.gpu.trees import rows_of
from benchmarks.paired import difference, ratio
from reason.run import solve
from rl.vocabulary import ID


def test_a_ratio_of_pairs_does_not_mind_what_both_sides_share() -> None:
    load = [1.0, 5.0, 2.0, 40.0, 3.0, 1.0, 7.0]
    found = ratio([2 * x for x in load], load)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)
    noisy = ratio([2.0, 9.0, 4.0, 96.0, 6.0, 2.2, 14.0], load)
    assert 1.8 <= noisy.low <= noisy.value <= noisy.high <= 2.4
    assert difference([3.0, 7.0, 4.0], [1.0, 5.0, 2.0]).value == 2.0


@pytest.mark.parametrize(
    "name, total, critical, children",
    [("apr6", 10_338, 2_693, 6), ("apr10", 18_944, 3_319, 10), ("threadweaver", 11_143, 8_278, 16)],
)
def test_plans_have_the_sizes_of_the_papers(
    name: str, total: int, critical: int, children: int
) -> None:
    plan = PLANS[name]
    assert plan.threads == children
    assert plan.total == pytest.approx(total, rel=0.01)
    assert plan.critical == pytest.approx(critical, rel=0.01)


@pytest.mark.parametrize("name", PLANS)
def test_trees_grow_as_planned(name: str) -> None:
    plan = PLANS[name].scaled(0.1)
    for method, critical in ((Grow(plan), plan.critical), (InSequence(plan), plan.total)):
        run = asyncio.run(solve(method, "a prompt", {"policy": Instant(1)}))
        assert run.error is None
        assert (run.ledger.total_tokens, run.tree.critical_path) == (plan.total, critical)


def test_a_row_that_was_cut_short_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "trees.jsonl"
    assert rows_of(file) == []
    file.write_bytes(b'{"cell": {"model": "ti')
    assert rows_of(file) == []


def test_a_root_is_shown_as_if_asked_for_another_width() -> None:
    def ids(text: str) -> list[int]:
        return [ID[word] for word in text.split()]

    root = "<bos> <par> 24 3 5 7 8 ; {} <go> 3 + 5 <go>"
    assert asked_for(ids(root.format(2)), 4) == ids(root.format(4))
    child = ids("<bos> <sub> 24 8 7 8 <go>")
    assert asked_for(child, 4) == child
