"""Traces in ThreadWeaver's layout are well-formed, right, and complete."""

import random
from itertools import islice

import pytest

from controllers.syntax import syntax_of
from eval.countdown import Problem, generate, moves, solve
from eval.tasks import countdown_item
from eval.verifier import verify
from rl.examples import examples
from rl.recipe import Mixture
from rl.traces import ROUNDS, Example
from rl.vocabulary import NAMED
from rl.weaving import BRANCHES, woven

SYNTAX = syntax_of("countdown")
FORM = SYNTAX.threads


def problems(n: int, count: int) -> list[Problem]:
    return list(islice(generate(n, "val", 1), count))


def whole(example: Example) -> str:
    return " ".join(example.written)


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("k", [0, 2, 8])
def test_a_run_verifies_and_fails_only_if_it_left_something_out(n: int, k: int) -> None:
    for problem in problems(n, 10):
        run, *_ = woven(problem, k, random.Random(0))
        answer = SYNTAX.answer(whole(run))
        blocks = run.written.count("<Parallel>")
        assert 1 <= blocks <= (ROUNDS if k else 1)
        assert answer is None or verify(answer, problem)
        listed = run.written.count("<Outline>")
        if answer is None:
            assert 0 < k * ROUNDS == listed < len(moves(problem.numbers))
        if k == 0:
            assert answer is not None and listed == len(moves(problem.numbers))


@pytest.mark.parametrize("k", [0, 3])
def test_a_block_is_what_the_runtime_reads_and_splices(k: int) -> None:
    for problem in problems(4, 8):
        run, *_ = woven(problem, k, random.Random(1))
        blocks = whole(run).split(FORM.block_end)[:-1]
        for block in blocks:
            head, end, body = block.partition(FORM.outlines_end)
            outlines = FORM.read(head + end)
            assert [number for number, _ in outlines] == [
                str(i) for i in range(1, len(outlines) + 1)
            ]
            assert k == 0 or len(outlines) <= k
            threads = [part for part in body.split(FORM.thread_end) if part.strip()]
            assert len(threads) == len(outlines)
            for (number, step), thread in zip(outlines, threads, strict=True):
                header = FORM.header.format(number=number)
                assert thread.strip().startswith(f"{header} {step} |")
                returned = SYNTAX.result(thread.strip() + " <eos>")
                assert returned is None or verify(returned, problem)
                assert ("<ret> fail" in thread) == (returned is None)
                rest = {str(move): rest for move, rest in moves(problem.numbers)}[step]
                assert (solve(rest, problem.target) is None) == (returned is None)


def test_threads_are_asked_behind_all_outlines_and_no_sibling() -> None:
    for problem in problems(4, 10):
        run, *threads = woven(problem, 4, random.Random(2), branches=100)
        sequence = " ".join(run.context + run.written)
        assert len(threads) == run.written.count("<Outline>")
        for thread in threads:
            asked = " ".join(thread.context)
            assert asked.endswith(":") and FORM.outlines_end in asked
            before, _, header = asked.rpartition("<Thread>")
            assert "<Thread>" not in before.rpartition(FORM.outlines_end)[2]
            assert sequence.startswith(before.strip())
            assert f"<Thread>{header} {whole(thread)}" in sequence
    drawn = list(woven(problems(4, 1)[0], 8, random.Random(2)))
    assert len(drawn) == 1 + BRANCHES


def test_prompts_are_those_the_method_sends() -> None:
    for problem in problems(4, 5):
        text = countdown_item(problem, "countdown").prompt
        run, *_ = woven(problem, 4, random.Random(0))
        assert " ".join(run.context) == SYNTAX.woven(text, 4)


def test_a_mixture_holds_them_and_its_words_are_tokens() -> None:
    mixture = Mixture(root=False, children=0, weave=1.0)
    drawn = list(islice(examples(mixture, 0), 200))
    assert {example.kind for example in drawn} == {"woven", "thread"}
    assert {word for e in drawn for word in e.context + e.written} <= set(NAMED)
    assert drawn == list(islice(examples(mixture, 0), 200))
