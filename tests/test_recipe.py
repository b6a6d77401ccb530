"""Recipes: what one may say, what is refused before anything is trained, and the schedule."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from reason.config import build, merge, read_toml
from reason.errors import UsageError
from rl.batches import IGNORE, block, buckets, fitting
from rl.examples import examples
from rl.recipe import Mixture, Recipe, Stage
from tests.console import reason

PLAIN = {"name": "one", "blocks": 1, "muon": 0.01, "adamw": 1e-3}


def recipe(stage: Mapping[str, Any], /, **changes: Any) -> Recipe:
    return build(Recipe, merge({"stage": [{**PLAIN, **stage}]}, changes))


NOTHING = (
    "stage[0].mixture.root, children, serial, weave or attempts must give examples: now there are "
    "none"
)
WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"stage": []}, "stage must be one or more, got ()"),
    ({}, {"block": 0}, "block must be 1 or more, got 0"),
    ({}, {"batch": 16}, "batch must be 24 or more, got 16"),
    ({}, {"threads": 0}, "threads must be 1 or more, got 0"),
    ({}, {"seed": -1}, "seed must be from 0 to 2**63 - 1, got -1"),
    ({}, {"shape": {"context": 1919}}, "batch must be at most shape.context (1919), as a row may"),
    ({}, {"shape": {"layers": 0}}, "shape.layers must be 1 or more, got 0"),
    ({}, {"shape": {"hidden": 96}}, "shape.hidden must be a multiple of head (64), got 96"),
    ({}, {"shape": {"hidden": 32}}, "shape.hidden must be a multiple of head (64), got 32"),
    ({}, {"shape": {"hidden": 0}}, "shape.hidden must be a multiple of head (64), got 0"),
    ({}, {"shape": {"head": 1}}, "shape.head must be an even number, 2 or more, got 1"),
    ({}, {"shape": {"head": 0}}, "shape.head must be an even number, 2 or more, got 0"),
    ({"blocks": 0}, {}, "stage[0].blocks must be 1 or more, got 0"),
    ({"warmup": -1}, {}, "stage[0].warmup must be 0 or more, got -1"),
    ({"muon": -0.1}, {}, "stage[0].muon must be 0 or more and finite, got -0.1"),
    ({"adamw": float("nan")}, {}, "stage[0].adamw must be 0 or more and finite, got nan"),
    ({"decay_from": 1.5}, {}, "stage[0].decay_from must be a share from 0 to 1, got 1.5"),
    ({"floor": -1}, {}, "stage[0].floor must be a share from 0 to 1, got -1.0"),
    ({"mixture": {"three": 2}}, {}, "stage[0].mixture.three must be a share from 0 to 1, got 2.0"),
    ({"mixture": {"five": 0.8}}, {}, "stage[0].mixture.five must be at most 1 - three (0.75)"),
    ({"mixture": {"children": -1}}, {}, "stage[0].mixture.children must be 0 or more, got -1"),
    ({"mixture": {"narrow": -1}}, {}, "stage[0].mixture.narrow must be 0 or more, got -1"),
    ({"mixture": {"root": False, "children": 0}}, {}, NOTHING),
    ({"mixture": {"narrow": 0, "all_children": 0, "children": 0}}, {}, NOTHING),
    (
        {"mixture": {"root": False, "children": 0, "serial": 1, "three": 0, "five": 1}},
        {},
        NOTHING,
    ),
]


@pytest.mark.parametrize(("stage", "changes", "message"), WRONG)
def test_a_value_out_of_range_is_named(
    stage: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(stage, **changes)
    assert str(caught.value).startswith(message)


def test_what_ships_is_allowed_and_so_are_the_edges() -> None:
    shipped = [
        path for path in Path("rl/recipes").glob("*.toml") if "[grpo]" not in path.read_text()
    ]
    assert len(shipped) == 5  # the others are those of tests/test_grpo_run.py
    for path in shipped:
        build(Recipe, read_toml(path))
    edge = {"warmup": 0, "decay_from": 1, "floor": 1, "mixture": {"three": 0.3, "five": 0.7}}
    assert recipe(edge, batch=24, shape={"context": 24}, block=1).stage[0].warmup == 0


def test_the_rate_rises_holds_and_falls_to_its_floor() -> None:
    stage = Stage("x", 1, 0.01, 1e-3, warmup=4, decay_from=0.5, floor=0.1)
    rates = [stage.factor(step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[4:11]) == {1.0}
    assert rates[15] == pytest.approx(0.5) and rates[19] == pytest.approx(0.1)
    at_once = Stage("x", 1, 0.01, 1e-3, warmup=0, decay_from=1)
    assert {at_once.factor(step, 20) for step in range(20)} == {1.0}


def test_a_batch_too_small_for_every_example_is_said_at_once() -> None:
    # A child of three numbers writes more, mostly some 70 words.
    mixture = Mixture(root=False, three=0)
    with pytest.raises(UsageError, match=r"batch is 24, too small .* of 500 examples none fits"):
        next(fitting(mixture, 24, "x"))
    with pytest.raises(UsageError, match="batch is 24, too small"):
        list(block(mixture, 24, 1, "x"))
    assert list(block(mixture, 480, 0, "x")) == []


def test_a_batch_of_one_row_length_holds_what_fits() -> None:
    assert buckets(47) == [47]
    for batch in block(Mixture(), 47, 3, "x"):
        assert batch.inputs.shape == (1, 47) and (batch.labels != IGNORE).any()


@pytest.mark.soak
def test_examples_go_on_when_there_are_no_more_problems() -> None:
    # There are some 2,650 of these problems, and one child is drawn of each.
    mixture = Mixture(root=False, three=1, small=1, children=1)
    assert len(list(islice(examples(mixture, 0), 3000))) == 3000


TOML = """
batch = 480
block = 2
compile = false
start = ""
shape = { hidden = 32, layers = 1, intermediate = 48, head = 16, context = 512 }
[[stage]]
name = "x"
blocks = 1
muon = 0.01
adamw = 1e-3
mixture = { children = 1 }
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("block = 2", "block = 0", "block must be 1 or more"),
        ("batch = 480", "batch = 16", "batch must be 24 or more"),
        ("batch = 480", "batch = 513", "batch must be at most shape.context (512)"),
        ('start = ""', 'start = "/no/such"', "start is '/no/such', but there is no such folder"),
        ('start = ""', 'start = "no/such"', "start is 'no/such', but there is no such folder"),
        ("hidden = 32", "hidden = 30", "shape.hidden must be a multiple of head (16)"),
        ("children = 1", "root = false, children = 0", NOTHING),
        (
            "batch = 480",
            "batch = 24",
            "batch is 24, too small for the mixture: of 500 examples none fits",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_one_line_and_nothing_is_trained(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "recipe.toml"
    text = TOML.replace("children = 1", "root = false, three = 0") if "24" in new else TOML
    file.write_text(text.replace(old, new))
    result = reason("train", "sft", str(file), "--out", str(tmp_path / "run"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"reason: {message}") and result.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("word", ["stage=", "stage=[]"])
def test_a_recipe_without_stages_is_refused(tmp_path: Path, word: str) -> None:
    result = reason("train", "sft", "countdown", "--out", str(tmp_path / "run"), word)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "reason: stage must be one or more, got ()\n"
