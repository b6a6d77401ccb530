"""The methods that sample whole chains, each driven whole on a scripted model."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from reason.backends.scripted import Script, ScriptedBackend
from reason.errors import BackendError
from reason.ledger import Budget
from reason.run import Controller
from reason.types import Message, Result, SamplingParams, Thread
from tests.runs import run


def in_turn(texts: Sequence[str]) -> Script:
    """The first request gets the first text, and so on; "dead" fails."""
    left = iter(texts)

    def script(context: str, params: SamplingParams) -> str:
        text = next(left)
        if text == "dead":
            raise BackendError("connection refused")
        return text

    return script


def test_single() -> None:
    seen: list[tuple[str, SamplingParams]] = []

    def script(context: str, params: SamplingParams) -> str:
        seen.append((context, params))
        return "<think>\\boxed{1}</think> so \\boxed{14}"

    params = SamplingParams(temperature=0.6, top_p=0.95, max_tokens=99)
    chat: list[Message] = [Message(role="user", content="3+11?")]
    done = run(Single(sampling=params), script, prompt=chat)
    assert done.result == Result("14", "0")
    assert (len(done.tree), done.tree.critical_path) == (1, done.ledger.total_tokens)
    ((context, asked),) = seen
    assert context.startswith("<user>3+11?\n\nPlease reason step by step")
    assert asked == params
    assert done.controller["sampling"]["top_p"] == 0.95


def test_single_without_an_answer() -> None:
    done = run(Single(), lambda context, params: "I do not know")
    assert (done.result, done.error) == (Result(None, "0"), None)


def test_self_consistency_takes_the_majority() -> None:
    texts = ["\\boxed{1}", "it is \\boxed{02}", "no idea", "so it is \\boxed{2.0}"]
    done = run(SelfConsistency(n=4), in_turn(texts))
    assert done.result == Result("02", "0.1")
    assert done.ledger.total_tokens == sum(map(len, texts))
    assert done.tree.critical_path == max(map(len, texts))
    assert [t.text for t in done.tree] == ["", *texts]
    assert [(n.name, n.value) for n in done.tree.notes] == [
        ("vote", {"answer": "02", "share": 0.5})
    ]
    prompt = done.tree.root.ids
    assert all(t.ids[: len(prompt)] == prompt for t in done.tree)


@pytest.mark.parametrize(
    ("texts", "result"),
    [
        (["\\boxed{2}", "\\boxed{1}"], Result("2", "0.0")),
        (["dead", "\\boxed{1}", "dead"], Result("1", "0.1")),
        (["dead", "dead"], Result(None, "0.0")),
        (["none", "none"], Result(None, "0.0")),
    ],
)
def test_self_consistency_with_ties_blanks_and_failures(texts: list[str], result: Result) -> None:
    done = run(SelfConsistency(n=len(texts)), in_turn(texts))
    assert (done.result, done.error) == (result, None)
    assert [t.finish for t in done.tree][1:] == ["error" if t == "dead" else "eos" for t in texts]


def test_chains_are_seeded_apart_and_repeatably() -> None:
    def script(context: str, params: SamplingParams) -> str:
        assert params.seed is not None
        return f"\\boxed{{{params.seed % 50}}}"

    first, again, other = (
        [t.text for t in run(SelfConsistency(n=8), script, seed=seed).tree] for seed in (3, 3, 4)
    )
    assert first == again != other
    assert len(set(first)) > 4


def rated(thread: Thread, answer: str | None) -> float:
    return float(answer or -1)


def best_of(texts: list[str], **options: Any) -> Any:
    method = BestOfN(n=len(texts), scorer="size", enough=options.pop("enough", None))
    return run(method, in_turn(texts), scorers={"size": rated}, **options)


def test_best_of_n_keeps_the_best() -> None:
    texts = ["\\boxed{1}", "after a while \\boxed{3}", "none", "well \\boxed{2}"]
    done = best_of(texts)
    assert done.result == Result("3", "0.1", {"score": 3.0})
    assert {n.thread: n.value for n in done.tree.notes} == {
        "0.0": 1.0,
        "0.1": 3.0,
        "0.2": -1.0,
        "0.3": 2.0,
    }
    assert done.tree.critical_path == len(texts[1])


def test_equal_scores_go_to_the_earlier_chain_whoever_finished_first() -> None:
    done = best_of(["a long way to \\boxed{2}", "\\boxed{2}", "\\boxed{1}"])
    assert [n.thread for n in done.tree.notes] == ["0.1", "0.2", "0.0"]
    assert done.result == Result("2", "0.0", {"score": 2.0})


@pytest.mark.parametrize("limit, value", [("total_tokens", 190), ("critical_path", 40)])
def test_chains_that_a_budget_cut_do_not_vote_and_the_others_do(limit: str, value: int) -> None:
    """Neither what a chain wrote before it was cut, nor that it was, changes the others' vote."""
    texts = [
        "\\boxed{1}" + "." * 500,
        "." * 20 + "\\boxed{2}",
        "\\boxed{1}" + "." * 500,
        "." * 25 + "\\boxed{2}",
        "\\boxed{1}" + "." * 500,
    ]
    backend = ScriptedBackend(in_turn(texts), chunk=1)
    done = run(SelfConsistency(n=5), backend, budget=Budget(**{limit: float(value)}))
    assert (done.result, done.error, done.limit) == (Result("2", "0.1"), None, limit)
    assert [t.finish for t in done.tree] == ["eos", "budget", "eos", "budget", "eos", "budget"]
    assert [(n.name, n.value) for n in done.tree.notes if n.name == "vote"] == [
        ("vote", {"answer": "2", "share": 0.4})
    ]
    assert done.ledger.total_tokens == sum(len(t.text) for t in done.tree)
    assert done.tree.critical_path == max(len(t.text) for t in done.tree)


def test_best_of_n_stops_once_a_chain_is_good_enough() -> None:
    texts = ["\\boxed{9}" + "." * 4000, "\\boxed{7}", "\\boxed{9}" + "." * 4000]
    done = best_of(texts, enough=5.0)
    assert done.result == Result("7", "0.1", {"score": 7.0})
    assert [t.finish for t in done.tree] == ["eos", "cancelled", "eos", "cancelled"]
    assert done.tree.critical_path == len("\\boxed{7}")
    assert done.ledger.total_tokens < 300
    assert done.tree.joins[-1].children == ("0.1",)


def test_best_of_n_where_chains_fail() -> None:
    done = best_of(["dead", "\\boxed{2}", "dead"])
    assert done.result == Result("2", "0.1", {"score": 2.0})
    assert best_of(["dead", "dead"]).result == Result(None, "0.0", {})
    short = best_of(["\\boxed{2}" + "." * 500] * 2, budget=Budget(critical_path=20))
    assert (short.result, short.limit) == (Result("2", "0.0", {}), "critical_path")


def test_best_of_n_with_an_unknown_scorer() -> None:
    done = run(BestOfN(n=2), in_turn(["\\boxed{1}", "\\boxed{1}"]))
    assert done.error == "UsageError: no scorer is called 'verifier'; there is: none"


@pytest.mark.parametrize("method", [SelfConsistency, BestOfN])
def test_no_chains_are_refused(method: Callable[..., Controller]) -> None:
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        method(n=0)


@pytest.mark.parametrize("method", [Single(), SelfConsistency(n=2), BestOfN(n=2)])
def test_every_method_names_the_grammars_there_are(method: Any) -> None:
    wrong = type(method)(syntax="xml")
    done = run(wrong, ScriptedBackend(lambda context, params: ""))
    assert done.error == (
        "UsageError: no syntax is called 'xml'; there is: tags, plain, countdown, lookup"
    )
    assert run(AdaptiveParallel(syntax="xml"), lambda context, params: "").error == done.error
