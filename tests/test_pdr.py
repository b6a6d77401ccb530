"""Parallel-distil-refine and sequential refinement: who is asked what, and what it costs."""

import asyncio
import random
import re
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest

from controllers.pdr import Distiller, ParallelDistillRefine
from controllers.sequential_refine import SequentialRefine
from eval.countdown import generate
from eval.tasks import countdown_item
from reason.backends.scripted import ScriptedBackend
from reason.errors import BackendError, UsageError
from reason.run import Trajectory
from reason.types import Prompt, Result, SamplingParams
from reason.virtual import VirtualLoop
from tests.oracle import oracle
from tests.runs import Run, run

PDR = ParallelDistillRefine(sampling=SamplingParams(max_tokens=400))
SR = SequentialRefine(sampling=SamplingParams(max_tokens=400))


class Model:
    """A model whose n-th attempt thinks, then says \\boxed{n}; it keeps what it was asked."""

    def __init__(self, think: int = 3, delay: float = 0.0, fails: tuple[int, ...] = ()) -> None:
        self.asked: list[str] = []
        self.think, self.delay, self.fails = think, delay, fails

    async def script(self, context: str, params: SamplingParams) -> str:
        number = len(self.asked)
        self.asked.append(context)
        if number in self.fails:
            raise BackendError("gone")
        if self.delay:
            await asyncio.sleep(self.delay * random.Random(number).random())
        if "<best>" in context:
            return "these <best>2, 1</best>"
        if "Summarise" in context:
            return "a SUMMARY"
        if "List its errors" in context:
            return "ERRORS"
        return f"<think>{'secret ' * self.think}</think>so \\boxed{{{number}}}"


def ask(method: Any, model: Model, **options: Any) -> Trajectory:
    return run(method, ScriptedBackend(model.script, chunk=64), **options)


def kinds(done: Trajectory) -> Counter[str]:
    return Counter(note.value["kind"] for note in done.tree.notes if note.name == "call")


def shown(context: str) -> list[str]:
    return re.findall(r"\\boxed\{(\d+)\}", context)


@pytest.mark.parametrize(
    ("distil", "calls"),
    [("random_k", 0), ("global_summary", 3), ("shared_top_k", 3), ("per_sample_top_k", 13)],
)
def test_calls_of_every_distiller(distil: Distiller, calls: int) -> None:
    model = Model()
    done = ask(replace(PDR, rounds=(16, 8, 4), k=2, distil=distil), model)
    assert kinds(done) == Counter({"attempt": 29, "distil": calls} if calls else {"attempt": 29})
    assert len(model.asked) == 29 + calls
    assert done.result and done.result.answer == str(28 + calls)
    assert not any("secret" in context for context in model.asked), "thinking was passed on"


class Opening(ScriptedBackend):
    """A model whose chat template begins the thought, as those of reasoning models do."""

    def encode(self, prompt: Prompt) -> list[int]:
        return super().encode(prompt) + ([] if isinstance(prompt, str) else self._encode("<think>"))


def test_a_thought_that_the_prompt_began_and_nobody_ended_is_not_passed_on() -> None:
    asked: list[str] = []

    def script(context: str, params: SamplingParams) -> str:
        asked.append(context)
        return "secret " * 20

    sampling = SamplingParams(max_tokens=30)
    done = run(replace(SR, rounds=2, sampling=sampling), Opening(script, chunk=64))
    assert len(asked) == 3 and done.result and done.result.answer is None
    assert not any("secret" in context for context in asked)


def test_a_summary_that_does_not_fit_the_workspace_is_left_out() -> None:
    model = Model()
    long = replace(PDR, rounds=(2,), distil="global_summary", workspace=8)
    done = ask(long, model)
    assert {"summary": len("a SUMMARY")} in [
        n.value for n in done.tree.notes if n.name == "left out"
    ]
    assert not any("SUMMARY" in context for context in model.asked)
    fits = Model()
    ask(replace(long, workspace=9), fits)
    assert sum("SUMMARY" in context for context in fits.asked) == 1


@pytest.mark.parametrize("distil", ["random_k", "shared_top_k", "per_sample_top_k"])
def test_a_round_sees_the_one_before_and_nothing_else(distil: Distiller) -> None:
    model = Model()
    ask(replace(PDR, rounds=(6, 4), k=2, distil=distil), model, seed=1)
    attempts = [(i, c) for i, c in enumerate(model.asked) if "<best>" not in c]
    first, second, last = attempts[:6], attempts[6:10], attempts[10:]
    assert all(shown(context) == [] for _, context in first)
    for before, after in ((first, second), (second, last)):
        known = {str(i) for i, _ in before}
        seen = [shown(context) for _, context in after]
        assert all(len(set(each)) == 2 and set(each) <= known for each in seen)
        if distil == "shared_top_k":
            assert len({tuple(each) for each in seen}) == 1
    if distil != "shared_top_k":
        assert len({tuple(shown(context)) for _, context in second}) > 1


def test_what_the_model_picks_is_what_the_next_round_sees() -> None:
    model = Model()
    ask(replace(PDR, rounds=(4,), k=2, distil="shared_top_k"), model, seed=3)
    choice, last = model.asked[4:]
    listed = shown(choice)
    assert sorted(listed) == ["0", "1", "2", "3"]
    assert shown(last) == [listed[1], listed[0]]


def test_an_unreadable_choice_is_drawn_by_lot() -> None:
    model = Model()

    async def script(context: str, params: SamplingParams) -> str:
        said = await model.script(context, params)
        return said.replace("2, 1", "2, 2")

    method = replace(PDR, rounds=(4,), k=2, distil="shared_top_k")
    done = run(method, ScriptedBackend(script, chunk=64), seed=3)
    assert "unreadable choice" in [note.name for note in done.tree.notes]
    assert len(set(shown(model.asked[-1]))) == 2


def test_a_summary_is_the_whole_workspace() -> None:
    model = Model()
    ask(replace(PDR, rounds=(3,), distil="global_summary"), model)
    assert sorted(shown(model.asked[3])) == ["0", "1", "2"]
    assert "a SUMMARY" in model.asked[4] and shown(model.asked[4]) == []


def test_the_workspace_holds_whole_solutions_only() -> None:
    model = Model()
    one = len("so \\boxed{0}")
    method = replace(PDR, rounds=(4,), k=4, workspace=2 * one + 1)
    done = ask(method, model, seed=1)
    assert len(shown(model.asked[4])) == 2
    assert [n.value for n in done.tree.notes if n.name == "left out"] == [{"solutions": 2}]


def test_results_do_not_depend_on_the_order_of_completion() -> None:
    method = replace(PDR, rounds=(5, 3), k=2)

    def answers(delay: float) -> list[list[str]]:
        model = Model(delay=delay)
        ask(method, model, seed=7)
        return [shown(context) for context in model.asked]

    assert answers(0.0) == answers(0.002)


def test_one_failed_call_stops_nobody() -> None:
    model = Model(fails=(1,))
    done = ask(replace(PDR, rounds=(3,), k=3), model)
    assert sorted(shown(model.asked[3])) == ["0", "2"]
    assert done.result == Result("3", "0.3", done.result.extra if done.result else {})
    everyone = ask(replace(PDR, rounds=(2,)), Model(fails=(0, 1)))
    assert everyone.result and everyone.result.answer == "2"
    last = ask(replace(PDR, rounds=(2,)), Model(fails=(2,)))
    assert last.result and last.result.answer is None


def test_budgets_against_a_count_by_hand() -> None:
    model = Model()
    done = ask(replace(PDR, rounds=(3, 2), k=2, distil="per_sample_top_k"), model)
    sizes: dict[tuple[int, str], list[int]] = {}
    for note in done.tree.notes:
        if note.name == "call":
            key = (note.value["round"], note.value["kind"])
            sizes.setdefault(key, []).append(done.tree[note.thread].length)
    assert {key: len(each) for key, each in sizes.items()} == {
        (0, "attempt"): 3,
        (1, "distil"): 2,
        (1, "attempt"): 2,
        (2, "attempt"): 1,
    }
    assert done.result
    extra = done.result.extra
    assert extra["b_total"] == sum(map(sum, sizes.values()))
    assert extra["b_seq"] == sum(map(max, sizes.values()))
    assert extra["b_seq_mean"] <= extra["b_seq"] <= extra["b_total"]


def test_one_draft_is_one_refinement() -> None:
    wide, deep = Model(), Model()
    first = ask(replace(PDR, rounds=(1,), k=1), wide)
    second = ask(replace(SR, rounds=1), deep)
    assert wide.asked == deep.asked
    assert first.result == second.result
    assert first.result and first.result.extra["b_seq"] == first.result.extra["b_total"]


@pytest.mark.parametrize("analyse", [False, True])
def test_refinement_sees_the_attempt_before(analyse: bool) -> None:
    model = Model()
    done = ask(replace(SR, rounds=3, analyse=analyse), model)
    attempts = [(i, c) for i, c in enumerate(model.asked) if "List its errors" not in c]
    assert len(attempts) == 4 and len(model.asked) == (7 if analyse else 4)
    for (before, _), (_, context) in pairwise(attempts):
        assert shown(context) == [str(before)]
        assert ("ERRORS" in context) == analyse
    assert done.result
    assert done.result.extra["b_seq"] == done.result.extra["b_total"]


def test_a_failed_refinement_leaves_the_attempt_before() -> None:
    done = ask(replace(SR, rounds=1), Model(fails=(1,)))
    assert done.result and (done.result.answer, done.result.thread) == ("0", "0.0")


@pytest.mark.parametrize("budget", [5, 40])
def test_thinking_is_ended_and_the_solution_asked_for(budget: int) -> None:
    def script(context: str, params: SamplingParams) -> str:
        if "</think>" in context:
            return "FORCED \\boxed{1}"
        return "<think>abcdefgh</think>own \\boxed{2}"

    method = replace(PDR, rounds=(1,), thinking=budget)
    done = run(method, ScriptedBackend(script, chunk=4))
    texts = [s.text for s in done.tree["0.0"].segments[1:]]
    if budget == 5:
        # "<thin" does not say that it thinks, so the answer itself is begun
        assert texts[0] == "<thin" and texts[1] == "\n\nFinal answer: \\boxed{"
    else:
        assert texts == ["<think>abcdefgh</think>", "FORCED \\boxed{1}"]
        assert done.result and done.result.answer == "1"


def test_wall_clock_is_the_sum_over_rounds_of_the_slowest() -> None:
    delays = {0: [3.0, 1.0, 2.0], 1: [0.5, 4.0], 2: [1.0]}
    order = [delay for each in delays.values() for delay in each]
    count = iter(range(100))

    async def script(context: str, params: SamplingParams) -> str:
        await asyncio.sleep(order[next(count)])
        return "\\boxed{1}"

    loop = VirtualLoop()
    try:
        method = replace(PDR, rounds=(3, 2), k=2)
        done = loop.run_until_complete(Run(method, ScriptedBackend(script, chunk=99)).go())
    finally:
        loop.close()
    assert done.ledger.seconds == pytest.approx(3.0 + 4.0 + 1.0)


@pytest.mark.parametrize("k", [2, 4])
def test_a_model_that_rules_out_steps_gets_there_in_rounds(k: int) -> None:
    solved: Counter[str] = Counter()
    for problem in islice(generate(4, "val", 2), 12):
        item = countdown_item(problem, "countdown")
        knobs: dict[str, Any] = {"width": k, "syntax": "countdown"}
        knobs["sampling"] = SamplingParams(max_tokens=2000)
        for name, method in (
            ("one", SequentialRefine(rounds=0, **knobs)),
            ("deep", SequentialRefine(rounds=12, **knobs)),
            ("wide", ParallelDistillRefine(rounds=(4, 4), k=4, **knobs)),
        ):
            done = run(method, oracle(), prompt=item.prompt)
            assert done.result
            answer = done.result.answer
            solved[name] += answer is not None
            assert answer is None or item.verify(answer)
    assert solved["deep"] == 12
    assert solved["one"] < solved["wide"] <= 12


def test_thinking_that_is_cut_hands_on_what_it_ruled_out() -> None:
    method = SequentialRefine(
        rounds=20, thinking=160, solution_tokens=400, width=8, syntax="countdown"
    )
    handed_on = solved = 0
    for problem in islice(generate(4, "val", 5), 6):
        item = countdown_item(problem, "countdown")
        done = run(method, oracle(), prompt=item.prompt)
        assert done.result
        solved += bool(done.result.answer and item.verify(done.result.answer))
        forced = [t for t in done.tree if "<ans>" in [s.text for s in t.segments]]
        handed_on += sum(t.segments[-1].text.startswith("tried ") for t in forced)
        assert all(len(t.segments[1].ids) == 160 for t in forced)
    assert handed_on and solved >= 4


def test_a_model_that_cannot_be_asked_is_refused_at_once() -> None:
    method = ParallelDistillRefine(syntax="countdown", distil="shared_top_k")
    with_errors = SequentialRefine(syntax="countdown", analyse=True)
    for each, instead in ((method, "distil=random_k"), (with_errors, "analyse=false")):
        done = run(each, oracle(), prompt="24 3 5 7 8")
        assert isinstance(done.failure, UsageError) and instead in str(done.failure)
        assert done.ledger.total_tokens == 0


@pytest.mark.parametrize(
    ("cls", "knobs", "words"),
    [
        (ParallelDistillRefine, {"rounds": (4, 0)}, "rounds must be 1 attempt or more each, got 0"),
        (ParallelDistillRefine, {"k": 0}, "k must be 1 or more, got 0"),
        (ParallelDistillRefine, {"workspace": 0}, "workspace must be 1 or more, got 0"),
        (ParallelDistillRefine, {"thinking": -1}, "thinking must be 0 or more, got -1"),
        (SequentialRefine, {"rounds": -1}, "rounds must be 0 or more, got -1"),
        (SequentialRefine, {"solution_tokens": 0}, "solution_tokens must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be(cls: Any, knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cls(**knobs)
