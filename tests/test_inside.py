"""Methods inside methods: what they cost, what stops them, and how they are asked for."""

import asyncio
import random
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.inside import written
from controllers.methods import fitted, method_named
from controllers.pdr import ParallelDistillRefine
from controllers.self_consistency import SelfConsistency
from controllers.sequential_refine import SequentialRefine
from controllers.single import Single
from controllers.stability import AdaptiveConsistency
from controllers.threadweaver import ThreadWeaver
from eval.countdown import Problem
from eval.folders import Evaluation, labelled
from eval.grid import cells
from eval.tasks import countdown_item
from reason.backends.connect import connect
from reason.backends.scripted import Script, ScriptedBackend
from reason.config import parse_words
from reason.engine import Engine
from reason.errors import BackendError, UsageError
from reason.keys import Ask
from reason.ledger import Budget
from reason.run import Controller, Trajectory, described, nested, solve, titled
from reason.settings import method_of
from reason.types import Prompt, Result, SamplingParams, Thread
from tests.driving import run as drive
from tests.runs import Run, run

SERIAL = SamplingParams(temperature=0.7, max_tokens=400)
APR = AdaptiveParallel(sampling=SERIAL)


@dataclass(frozen=True)
class Numbered:
    """Asks the method inside it another question every time."""

    name: ClassVar[str] = "numbered"
    inner: Controller
    numbers: Any

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        return await self.inner(engine, f"{prompt} {next(self.numbers)}")


def answering(salt: int, dead: int | None = None) -> Script:
    """A model that spawns up to three children or none; what it says is drawn by what it reads."""

    def script(context: str, params: SamplingParams) -> str:
        chance = random.Random(f"{salt}/{context}")
        if dead is not None and f"Q {dead}\n" in context:
            raise BackendError("gone")
        if "Solve this" in context:
            return "." * chance.randrange(1, 60) + f"<result>{chance.randrange(9)}</result>"
        if "hand parts" in context and not context.endswith("</join>\n"):
            tasks = "".join(f"<task>{chance.random()}</task>" for _ in range(chance.randrange(4)))
            if tasks:
                return "." * chance.randrange(1, 40) + f"<spawn>{tasks}</spawn>"
        return "." * chance.randrange(1, 40) + f"\\boxed{{{chance.randrange(3)}}}"

    return script


def asked(*words: str) -> Controller:
    """The method that a command line means."""
    tables = parse_words(words)
    name = tables.get("controller", "self_consistency")
    return method_of(Ask, tables, method_named(name), method_named)[0]


@settings(max_examples=25, deadline=None)
@given(
    salt=st.integers(0, 10**6),
    n=st.integers(1, 4),
    outer=st.sampled_from([SelfConsistency, AdaptiveConsistency, BestOfN]),
    inner=st.sampled_from([APR, replace(APR, splice="append"), Single(sampling=SERIAL)]),
)
def test_the_account_is_that_of_the_runs_inside(
    salt: int, n: int, outer: Any, inner: Controller
) -> None:
    """Tokens add up, the slowest run is what one waits for, and nobody is counted twice."""
    alone = [run(inner, answering(salt), prompt=f"Q {i}") for i in range(n)]
    options = {"scorer": "size"} if outer is BestOfN else {}
    if outer is AdaptiveConsistency:
        options = {"doubt": 0.0, "wave": 0}
        if len({done.result and done.result.answer for done in alone}) == 1:
            return  # decided before the last is there
    done = run(
        outer(n=n, chain=Numbered(inner, count()), **options),
        answering(salt),
        scorers={"size": lambda thread, answer: float(answer or -1)},
    )
    assert done.error is None and done.result is not None
    if outer is not AdaptiveConsistency:  # which may stop some
        assert done.ledger.total_tokens == sum(each.ledger.total_tokens for each in alone)
        assert done.tree.critical_path == max(each.tree.critical_path for each in alone)
        assert done.ledger.threads == 1 + sum(each.ledger.threads for each in alone)
        assert max(t.depth for t in done.tree) == 1 + max(t.depth for a in alone for t in a.tree)
    answers = [each.result and each.result.answer for each in alone]
    assert done.result.answer in answers
    holder = done.tree[done.result.thread]
    assert f"\\boxed{{{done.result.answer}}}" in holder.text
    if outer is BestOfN:
        assert done.result.answer == max(answers, key=lambda a: float(a or -1))


def test_what_a_vote_over_runs_of_one_thread_costs_is_what_the_vote_costs() -> None:
    plain, inside = (
        run(SelfConsistency(n=4, chain=chain), lambda c, p: "so it is \\boxed{2}")
        for chain in (None, Single())
    )
    same = plain.account().keys() - {"thread", "seconds", "ttft"}
    assert {k: plain.account()[k] for k in same} == {k: inside.account()[k] for k in same}
    assert [t.id for t in inside.tree if t.segments[:1] and t.segments[0].origin == "prompt"] == [
        "0", *(f"0.{i}.0" for i in range(4)),
    ]  # fmt: skip
    assert all(t.continues == (t.id.count(".") == 2) for t in inside.tree)


def test_a_run_that_fails_stops_nobody_else() -> None:
    method = SelfConsistency(n=3, chain=Numbered(APR, count()))
    done = run(method, answering(5, dead=1))
    others = [run(APR, answering(5), prompt=f"Q {i}").result for i in (0, 2)]
    assert done.error is None and done.result
    assert done.result.answer == (others[0] and others[0].answer)
    assert [done.tree[f"0.{i}"].finish for i in range(3)] == ["eos", "error", "eos"]


@pytest.mark.parametrize("limit", ["total_tokens", "critical_path", "threads", "depth"])
def test_a_budget_holds_inside(limit: str) -> None:
    most = {"total_tokens": 60, "critical_path": 30, "threads": 4, "depth": 1}[limit]
    method = SelfConsistency(n=3, chain=Numbered(APR, count()))
    backend = ScriptedBackend(answering(2), chunk=1)
    done = run(method, backend, budget=Budget(**{limit: float(most)}))
    assert done.limit == limit and done.result is not None
    over = 3 if limit == "total_tokens" else 0  # a token for each that writes at the same time
    found = {
        "total_tokens": done.ledger.total_tokens,
        "critical_path": done.tree.critical_path,
        "threads": done.ledger.threads,
        "depth": max(t.depth for t in done.tree),
    }
    assert found[limit] <= most + over


def test_cancelling_a_chain_cancels_the_run_in_it() -> None:
    """Also what it had found by then: half a vote is none."""

    async def script(context: str, params: SamplingParams) -> str:
        await asyncio.sleep(0.01 if (params.seed or 0) % 2 else 0.05)
        return "\\boxed{1}"

    inner = SelfConsistency(n=6)
    watched = Run(SelfConsistency(n=2, chain=inner), ScriptedBackend(script), seed=3)

    async def go() -> Trajectory:
        task = asyncio.create_task(watched.go())
        await asyncio.sleep(0.03)
        engine = watched.engine
        assert engine is not None
        assert any(t.finish for t in engine.tree.below(engine.tree["0.0"]))
        engine.cancel(engine.tree["0.0"])
        return await task

    done = asyncio.run(go())
    assert done.tree["0.0"].finish == "cancelled" == done.tree["0.0.0"].finish
    assert done.result == Result("1", "0.1.0.0")
    (vote,) = [n.value for n in done.tree.notes if n.thread == "0"]
    assert vote == {"answer": "1", "share": 0.5}


def test_leaving_a_race_stops_the_runs_in_it() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "\\boxed{9}" if "Q 1\n" in context else "." * 4000

    method = BestOfN(n=3, scorer="size", enough=9.0, chain=Numbered(Single(), count()))
    scorers = {"size": lambda thread, answer: float(answer or -1)}
    done = run(method, ScriptedBackend(script, chunk=8), scorers=scorers)
    assert done.result == Result("9", "0.1.0", {"score": 9.0})
    assert [done.tree[f"0.{i}.0"].finish for i in range(3)] == ["cancelled", "eos", "cancelled"]
    assert done.tree.critical_path == len("\\boxed{9}")


def test_a_scorer_gets_the_thread_that_has_the_answer() -> None:
    rated: list[str] = []

    def scorer(thread: Thread, answer: str | None) -> float:
        rated.append(thread.id)
        return 1.0

    texts = iter(["<spawn><task>t</task></spawn>", "<result>1</result>", "\\boxed{1}"])
    method = BestOfN(n=1, scorer="mine", chain=AdaptiveParallel())
    done = run(method, lambda c, p: next(texts), scorers={"mine": scorer})
    assert rated == ["0.0.0.1"] and done.result == Result("1", "0.0.0.1", {"score": 1.0})


class Attempts:
    """Answers the n-th question by n, in two threads and what follows them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def script(self, context: str, params: SamplingParams) -> str:
        if context.endswith("</user>"):
            self.asked.append(context)
            return (
                "<think>secret</think><Parallel>\n<Outlines>\n<Outline>1: a</Outline>\n"
                "<Outline>2: b</Outline>\n</Outlines>"
            )
        if context.endswith(":"):
            return " found</Thread>"
        return f"</Parallel> so \\boxed{{{len(self.asked)}}}"


@pytest.mark.parametrize(
    "method",
    [
        ParallelDistillRefine(rounds=(2,), k=2, chain=ThreadWeaver()),
        SequentialRefine(rounds=1, chain=ThreadWeaver()),
    ],
)
def test_attempts_may_be_runs_and_read_those_before(method: Controller) -> None:
    model = Attempts()
    done = run(method, model.script)
    *first, last = model.asked
    assert all("earlier attempts" not in context for context in first)
    assert "earlier attempts" in last and "secret" not in last
    assert "<Thread>\n2: found</Thread>" in last and "When parts of the work" in last
    assert last.index("earlier attempts") < last.index("When parts of the work")
    assert last.count("step by step") == 1
    assert done.result and done.result.answer == str(len(model.asked))
    calls = [n.thread for n in done.tree.notes if n.name == "call"]
    assert done.result.thread == f"{calls[-1]}.0"
    lengths = [t.length - t.kept for call in calls for t in done.tree.below(done.tree[call])]
    assert done.result.extra["b_total"] == sum(lengths)


def test_what_stands_behind_the_prompt() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        engine.append(root, "abc")
        fork = engine.fork(engine.fork(root, root.length - 1))
        engine.append(fork, "d")
        return Result(written(engine, fork) + "|" + written(engine, root), root.id)

    done = run(body, lambda c, p: "")
    assert done.result and done.result.answer == "abd|abc"


def test_a_countdown_model_cannot_refine_by_runs() -> None:
    for method in (
        ParallelDistillRefine(chain=APR, syntax="countdown"),
        SequentialRefine(chain=APR, syntax="countdown"),
    ):
        done = run(method, lambda c, p: "", prompt="24 3 5 7 8")
        assert done.error and "leave chain out, or ask for no round after the first" in done.error
    info = ScriptedBackend(lambda c, p: "").info
    inside = SelfConsistency(chain=ParallelDistillRefine(chain=APR))
    with pytest.raises(UsageError, match="read earlier attempts in a single thread only"):
        fitted(inside, {}, replace(info, grammar="countdown"), ())


def test_words_and_tables_name_methods_inside_methods() -> None:
    method = asked("n=3", "chain.controller=apr", "chain.width=4", "sampling.temperature=0.9")
    assert isinstance(method, SelfConsistency)
    # what is asked for of the chains holds for the method in them
    assert method.chain == AdaptiveParallel(width=4, sampling=SamplingParams(temperature=0.9))
    own = asked("chain.controller=apr", "chain.sampling.max_tokens=9")
    assert isinstance(own, SelfConsistency) and isinstance(own.chain, AdaptiveParallel)
    assert own.chain.sampling == SamplingParams(temperature=0.7, max_tokens=9)

    twice = asked(
        "chain.controller=pdr", "chain.rounds=2,2", "chain.chain.controller=threadweaver",
        "chain.chain.enforce=true",
    )  # fmt: skip
    assert titled(twice) == "self_consistency over pdr over threadweaver"
    assert [at for at, _ in nested(twice)] == ["", "chain.", "chain.chain."]
    told = described(twice)
    assert (told["name"], told["chain"]["name"]) == ("self_consistency", "pdr")
    assert told["chain"]["rounds"] == (2, 2)
    assert told["chain"]["chain"]["name"] == "threadweaver"
    assert told["chain"]["chain"]["enforce"] is True
    assert "chain" not in described(asked("chain=none")), "older folders can be gone on with"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("chain=apr", "chain has keys of its own: give chain.controller=NAME, not 'apr'"),
        ("chain.width=4", "chain has no controller: give chain.controller=NAME"),
        ("chain.controller=apx", "no controller is called 'apx'; there is: apr, threadweaver"),
        ("chain.controller=apr chain.x=4", "unknown key chain.x; the keys are: child_sampling"),
        ("chain.controller=apr chain.width=-1", "chain.width must be 0 or more, got -1"),
        ("chain.controller=pdr chain.chain.controller=y", "no controller is called 'y'"),
        ("chain.controller=apr width=4", "width is for chains of one thread, and here each is apr"),
        ("controller=atts chain.controller=apr", "unknown key chain"),
    ],
)
def test_what_is_wrong_with_a_method_inside_is_said(word: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        asked(*word.split())
    assert str(error.value).startswith(message)


def test_a_model_is_fitted_to_all_methods() -> None:
    info = replace(ScriptedBackend(lambda c, p: "").info, grammar="countdown")
    method = asked("chain.controller=best_of_n", "chain.chain.controller=apr")
    found = fitted(method, {}, info, ("verifier",))
    assert [getattr(each, "syntax", "") for _, each in nested(found)] == ["countdown"] * 3
    tables = {"syntax": "tags", "chain": {"chain": {"syntax": "countdown"}}}
    given_two = asked("syntax=tags", "chain.controller=best_of_n", "chain.chain.controller=apr",
                      "chain.chain.syntax=countdown")  # fmt: skip
    found = fitted(given_two, tables, info, ("verifier",))
    assert [getattr(each, "syntax", "") for _, each in nested(found)] == [
        "tags",
        "tags",
        "countdown",
    ]
    with pytest.raises(UsageError, match="no scorer is called 'verifier'; there is: likelihood"):
        fitted(method, {}, info, ("likelihood",))
    text = replace(info, token_ids=False, model="chat")
    with pytest.raises(
        UsageError, match=r"^apr \(the chain\.chain of self_consistency\) as it is set needs token"
    ):
        fitted(method, {}, text, ("verifier",))


def test_a_grid_and_its_labels(tmp_path: Path) -> None:
    config = {
        "method": [
            {"controller": "self_consistency", "n": 2,
             "chain": {"controller": "apr", "width": [4, 8]}},
            {"controller": "self_consistency", "n": 2},
        ]
    }  # fmt: skip
    found = cells(config)
    assert [cell.name for cell in found] == [
        "self_consistency,n=2,chain.controller=apr,chain.width=4",
        "self_consistency,n=2,chain.controller=apr,chain.width=8",
        "self_consistency,n=2",
    ]
    methods = [
        method_of(Ask, cell.tables, method_named("self_consistency"), method_named)[0]
        for cell in found
    ]
    evaluations = [
        Evaluation(
            tmp_path / str(i), {"task": "t", "controller": described(m), "backends": {}},
            [], True, {}, {},
        )
        for i, m in enumerate(methods)
    ]  # fmt: skip
    assert [each.label for each in labelled(evaluations)] == [
        "self_consistency over apr chain.width=4",
        "self_consistency over apr chain.width=8",
        "self_consistency",
    ]


def test_the_shipped_model_votes_over_its_own_threads() -> None:
    item = countdown_item(Problem((3, 5, 7, 8), 24), "countdown")
    warm = SamplingParams(temperature=1.0, max_tokens=1000)
    apr = AdaptiveParallel(
        4, syntax="countdown", sampling=warm, child_sampling=warm.but(temperature=0)
    )

    async def go() -> Trajectory:
        model = connect("")
        try:
            method = SelfConsistency(n=3, syntax="countdown", chain=apr)
            return await solve(method, item.prompt, {"policy": model}, seed=1)
        finally:
            await model.close()

    done = drive(go())
    assert done.result and done.result.answer and item.verify(done.result.answer)
    roots = [done.tree[f"0.{i}.0"] for i in range(3)]
    assert len({root.text for root in roots}) > 1, "the runs are seeded apart"
    assert done.tree.critical_path == max(root.clock for root in roots)
    assert done.controller["chain"]["name"] == "apr"
