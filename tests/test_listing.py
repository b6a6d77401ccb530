"""`reason methods`: what it lists is what there is, and is taken as it is listed."""

import dataclasses
import json

import pytest

from controllers.methods import METHODS, method_named
from reason.config import parse_words
from reason.keys import Ask
from reason.knobs import knobs_of
from reason.ledger import Budget
from reason.settings import method_of
from tests.console import reason


@pytest.mark.parametrize("name", METHODS)
def test_every_key_is_listed_and_taken_with_its_default(name: str) -> None:
    method = method_named(name)
    knobs = list(knobs_of(method))
    plain = {knob.key.partition(".")[0] for knob in knobs}
    assert plain == {field.name for field in dataclasses.fields(method)}
    assert len({knob.key for knob in knobs}) == len(knobs)
    assert all(knob.about for knob in knobs if knob.key != "sampling")
    absent = tuple(f"{knob.key}." for knob in knobs if knob.default is None and not knob.required)
    for knob in knobs:
        if knob.default == {} or knob.key.endswith(".controller") or knob.key.startswith(absent):
            continue
        word = knob.given
        assert method_of(Ask, parse_words([word]), method)[0] == method(), word
    present = [knob for knob in knobs if knob.key.startswith("sampling.")]
    assert {knob.key for knob in present} >= {"sampling.temperature", "sampling.grammar.kind"}


def test_the_limits_of_every_method() -> None:
    limits = {knob.key: knob for knob in knobs_of(Budget, "budget.")}
    assert list(limits) == [f"budget.{field.name}" for field in dataclasses.fields(Budget)]
    for knob in limits.values():
        assert knob.about and knob.given == f"{knob.key}=inf"
        found = method_of(Ask, parse_words([knob.given]), method_named("apr"), method_named)
        assert found[1] == Budget()


def test_a_method_in_a_terminal() -> None:
    done = reason("methods", "threadweaver")
    assert done.exit_code == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[:2] == [
        "threadweaver",
        "ThreadWeaver: outline the parts, write them in parallel threads, go on in the",
    ]
    flat = " ".join(done.stdout.split())
    for words in (
        "width=none Outlines to a block that the model is asked for; 0 leaves it to the model",
        "unclosed=continue What follows a thread that did not close itself",
        "released code, the end of the answer. [continue or stop]",
        "sampling.temperature=0.6 0 is greedy decoding. [number]",
        "sampling.grammar.kind What `text` is; json is a schema. [regex or json or ebnf, must be",
        "thread_sampling=none Sampling of the threads; None for the same. [keys of its own]",
        "thread_sampling.top_p=1 Only",
        "budget.seconds=inf Then requests end",
    ):
        assert words in flat, words
    assert max(map(len, lines)) <= 80
    nested = " ".join(reason("methods", "self_consistency").stdout.split())
    assert "chain.controller=none What every chain is; None for one thread." in nested
    assert "Its own keys are chain.KEY" in nested


def test_all_methods_and_what_a_machine_reads() -> None:
    listed = reason("methods").stdout
    names = [line.split()[0] for line in listed.splitlines() if line and line[0] != " "]
    assert names == [*METHODS, "reason"]  # which says how to go on
    found = json.loads(reason("methods", "--json").stdout)
    assert [each["name"] for each in found["methods"]] == [*METHODS]
    one = json.loads(reason("methods", "pdr", "--json").stdout)
    assert one == {
        "methods": [each for each in found["methods"] if each["name"] == "pdr"],
        "budget": found["budget"],
    }
    rounds = next(key for key in one["methods"][0]["keys"] if key["key"] == "rounds")
    assert rounds == {
        "key": "rounds",
        "kind": "a list: integer,…",
        "default": [8],
        "about": "Attempts of each round, the last one excepted.",
        "required": False,
    }


def test_names_that_no_method_has() -> None:
    done = reason("methods", "apx")
    assert (
        done.exit_code == 2 and "no controller is called 'apx'; there is: apr, thr" in done.stderr
    )
    done = reason("methods", "nmae=apr")
    assert done.exit_code == 2 and "unknown key nmae (did you mean names?)" in done.stderr


def test_a_wrong_key_says_where_they_are_listed() -> None:
    done = reason("ask", "make 24 from 3 5 7 8", "-c", "beam", "beems=3")
    assert done.exit_code == 2
    assert "unknown key beems (did you mean beams?); the keys are: " in done.stderr
    assert done.stderr.endswith("; `reason methods beam` describes those of the method\n")
