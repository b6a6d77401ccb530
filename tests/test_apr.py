"""Adaptive parallel reasoning, on a model that writes Countdown's search traces to the letter.

What a run should cost and send is computed from the traces alone.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import pytest

from controllers.apr import AdaptiveParallel
from eval.countdown import Problem, generate
from eval.tasks import countdown_item
from eval.verifier import verify
from reason.backends.scripted import Script, ScriptedBackend
from reason.run import Trajectory
from reason.types import SamplingParams
from rl.traces import Example, child, parallel
from tests.oracle import oracle, oracle_script
from tests.runs import run

APR = AdaptiveParallel(syntax="countdown")


@dataclass
class Expected:
    """A run as the traces foresee it."""

    sent: list[str]
    critical: int
    total: int
    threads: int


def requests_of(problem: Problem, k: int) -> list[Example]:
    """The root's requests; the oracle draws in the same order for the same words."""
    opening = f"{problem.target} {' '.join(map(str, problem.numbers))} ; {k}"
    return list(parallel(problem, k, random.Random(opening)))


def messages(example: Example) -> list[tuple[int, tuple[int, ...]]]:
    """The targets and numbers that a spawn block hands to children."""
    pieces = " ".join(example.written).removesuffix(" <join>").split(" <spawn> ")[1:]
    inner = [piece.split()[:-5] for piece in pieces[:-1]]  # the next step takes five words
    numbers = [[int(word) for word in words] for words in [*inner, pieces[-1].split()]]
    return [(target, tuple(rest)) for target, *rest in numbers]


def expect(requests: list[Example]) -> Expected:
    """Cost of a thread that makes these requests: each follows the children of the one before."""
    run = Expected([], 0, 0, 0)
    for example in requests:
        run.sent.append(" ".join(example.context))
        run.critical += len(example.written)
        run.total += len(example.written)
        if example.written[-1] != "<join>":
            continue
        children = [
            expect(list(child(numbers, target, random.Random(0))))
            for target, numbers in messages(example)
        ]
        run.critical += max(c.critical for c in children)
        run.total += sum(c.total for c in children)
        # A thread for each child, and one that goes on in the parent's place.
        run.threads += sum(c.threads + 1 for c in children) + 1
        run.sent += [context for c in children for context in c.sent]
    return run


def listening(script: Script, sent: list[str]) -> ScriptedBackend:
    def listen(context: str, params: SamplingParams) -> str:
        sent.append(context)
        written = script(context, params)
        assert isinstance(written, str)
        return written

    return oracle(script=listen)


def solved(problem: Problem, method: AdaptiveParallel, sent: list[str]) -> Trajectory:
    item = countdown_item(problem, "countdown")
    return run(method, listening(oracle_script(), sent), prompt=item.prompt)


def held_out(n: int, count: int) -> Iterator[Problem]:
    return islice(generate(n, "test", 7), count)


CASES = [
    (problem, k)
    for n, count, widths in ((3, 12, (0, 1, 2, 4)), (4, 10, (0, 1, 8)), (5, 2, (0,)))
    for problem in held_out(n, count)
    for k in widths
]


@pytest.mark.parametrize(("problem", "k"), CASES, ids=lambda value: str(value))
def test_a_run_is_the_traces_put_together(problem: Problem, k: int) -> None:
    requests = requests_of(problem, k)
    expected = expect(requests)
    sent: list[str] = []
    done = solved(problem, replace(APR, width=k), sent)
    assert done.error is None and done.result is not None
    answer = " ".join(requests[-1].written[1:-1])
    assert done.result.answer == (None if answer == "fail" else answer)
    assert verify(done.result.answer, problem) == (answer != "fail")
    assert answer != "fail" or k
    assert done.tree.critical_path == expected.critical
    assert done.ledger.total_tokens == expected.total
    assert sorted(sent) == sorted(expected.sent)
    assert len(done.tree) == expected.threads + 1
    assert done.ledger.prompt_tokens == sum(len(context.split()) for context in sent)
    assert {n.name for n in done.tree.notes} == set()


def test_the_cases_cover_several_rounds_nesting_and_failure() -> None:
    rounds = {len(requests_of(problem, k)) - 1 for problem, k in CASES}
    assert {1, 2, 3} <= rounds
    nested = [c for p, k in CASES if len(p.numbers) == 5 for c in requests_of(p, k)[:1]]
    assert nested and all(len(numbers) == 4 for c in nested for _, numbers in messages(c))
    assert any("fail" in requests_of(p, k)[-1].written for p, k in CASES)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_appending_keeps_the_spawn_block_where_replacing_cuts_it_out(k: int) -> None:
    seen = set()
    for problem in held_out(3, 20):
        requests = requests_of(problem, k)
        contexts: dict[str, list[str]] = {}  # as they should be sent -> as the traces have them
        whole = requests[0].context
        for before, after in zip(requests, [*requests[1:], None], strict=True):
            contexts[" ".join(whole)] = before.context
            if after:
                report = after.context[len(before.context) :]
                whole = [*whole, *before.written, *report]
        spell = oracle_script()

        def script(
            context: str,
            params: SamplingParams,
            contexts: dict[str, list[str]] = contexts,
            spell: Script = spell,
        ) -> str:
            written = spell(" ".join(contexts.get(context, context.split())), params)
            assert isinstance(written, str)
            return written

        sent: list[str] = []
        method = replace(APR, width=k, splice="append")
        item = countdown_item(problem, "countdown")
        done = run(method, listening(script, sent), prompt=item.prompt)
        assert done.error is None and done.result is not None
        expected = expect(requests)
        assert [s for s in sent if "<par>" in s] == list(contexts)
        assert done.tree.critical_path == expected.critical
        assert done.ledger.total_tokens == expected.total
        assert len(done.tree) == expected.threads + 1 - (len(requests) - 1)
        assert " ".join(requests[-1].written[1:-1]) == (done.result.answer or "fail")
        replaced = solved(problem, replace(APR, width=k), [])
        assert replaced.result == replace(done.result, thread=replaced.result.thread)  # type: ignore[union-attr]
        seen.add(len(requests))
    assert len(seen) > 1 or k == 0


def test_a_claim_that_is_wrong_is_not_verified() -> None:
    for problem in held_out(3, 3):
        item = countdown_item(problem, "countdown")
        done = run(APR, oracle(wrong=1.0), prompt=item.prompt)
        assert done.result is not None and done.result.answer is not None
        assert not item.verify(done.result.answer)


@pytest.mark.parametrize("name", ["width", "rounds", "depth", "most"])
def test_a_negative_limit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 0 or more, got -1"):
        AdaptiveParallel(**{name: -1})
