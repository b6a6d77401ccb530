"""What the model learns is right, complete, and what the methods will ask of it."""

import random
from itertools import islice

import numpy as np
import pytest

from controllers.grammar import Task
from controllers.syntax import syntax_of
from eval.countdown import Problem, generate, moves, solve, split_of
from eval.tasks import countdown_item
from eval.verifier import verify
from rl.batches import IGNORE, block, buckets
from rl.examples import examples
from rl.recipe import Mixture
from rl.traces import ROUNDS, Example, child, parallel, serial
from rl.vocabulary import ID, NAMED, SIZE, VOCABULARY

SYNTAX = syntax_of("countdown")
EVERYTHING = Mixture(serial=1.0, five=0.1)


def problems(n: int, count: int) -> list[Problem]:
    return list(islice(generate(n, "val", 1), count))


def test_the_vocabulary() -> None:
    assert len(VOCABULARY) == SIZE == len(ID)
    assert [VOCABULARY[i] for i in ID.values()] == list(ID)
    assert all(str(n) in ID for n in range(201)) and "201" not in ID
    assert not any(" " in word for word in VOCABULARY)


def test_every_word_of_every_example_is_a_token() -> None:
    used: set[str] = set()
    for example in islice(examples(EVERYTHING, 0), 500):
        used.update(example.context, example.written)
    assert used <= set(NAMED)
    assert {"<par>", "<seq>", "<sub>", "hit", "no", "fail", "|", "."} <= used


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("k", [0, 1, 2, 8])
def test_a_parallel_run_ends_with_an_answer_that_verifies(n: int, k: int) -> None:
    for problem in problems(n, 3 if n == 5 else 10):
        requests = list(parallel(problem, k, random.Random(0)))
        *spawns, last = requests
        assert all(e.kind == "root" for e in requests)
        assert 1 <= len(spawns) <= ROUNDS
        answer = SYNTAX.answer(" ".join(last.written))
        if k == 0:
            assert len(spawns) == 1 and answer is not None
        assert (answer is None) == (last.written == ["<ans>", "fail", "<eos>"])
        assert answer is None or verify(answer, problem)


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("k", [0, 3, 100])
def test_a_serial_run_verifies_and_fails_only_if_it_left_something_out(n: int, k: int) -> None:
    for problem in problems(n, 15):
        example = serial(problem, k, random.Random(0))
        answer = SYNTAX.answer(" ".join(example.written))
        tried = [step for step, _ in moves(problem.numbers)]
        if answer is None:
            assert 0 < k < len(tried)
        else:
            assert verify(answer, problem)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_child_returns_a_path_exactly_where_there_is_one(n: int) -> None:
    rng = random.Random(n)
    outcomes = set()
    for _ in range(40):
        numbers = tuple(rng.randint(1, 30) for _ in range(n))
        target = rng.randint(10, 100)
        *before, last = child(numbers, target, rng)
        assert len(before) == (1 if n > 3 and moves(numbers) else 0)
        found = SYNTAX.result(" ".join(last.written))
        assert (found is None) == (solve(numbers, target) is None)
        assert found is None or verify(found, Problem(numbers, target))
        outcomes.add(found is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("k", [0, 2, 8])
def test_prompts_are_those_the_methods_send(k: int) -> None:
    for problem in problems(4, 10):
        text = countdown_item(problem, "countdown").prompt
        root = next(parallel(problem, k, random.Random(1)))
        one = serial(problem, k, random.Random(1))
        assert " ".join(root.context) == SYNTAX.parallel(text, k)
        assert " ".join(one.context) == SYNTAX.serial(text, k)
        tasks = SYNTAX.tasks(" ".join(root.written))
        batch = [
            move for move in moves(problem.numbers) if str(move[0]) in {t.label for t in tasks}
        ]
        assert k == 0 or len(tasks) == min(k, len(moves(problem.numbers)))
        assert k or tasks == [Task(str(s), _message(problem, rest)) for s, rest in batch]
        for task, (_, rest) in zip(tasks, batch, strict=False) if not k else ():
            opening = next(child(rest, problem.target, random.Random(0))).context
            assert " ".join(opening) == SYNTAX.child(task)


def _message(problem: Problem, rest: tuple[int, ...]) -> str:
    return " ".join(map(str, (problem.target, *rest)))


@pytest.mark.parametrize("k", [1, 2])
def test_no_operation_is_listed_twice_over_the_rounds(k: int) -> None:
    for problem in problems(3, 15):
        if len(set(problem.numbers)) < 3:
            continue
        listed = [
            task.label
            for example in parallel(problem, k, random.Random(2))
            for task in SYNTAX.tasks(" ".join(example.written))
        ]
        assert len(listed) == len(set(listed)) <= k * ROUNDS


def test_examples_come_from_the_training_split_and_from_their_seed_alone() -> None:
    first = list(islice(examples(EVERYTHING, 5), 300))
    assert first == list(islice(examples(EVERYTHING, 5), 300))
    assert first != list(islice(examples(EVERYTHING, 6), 300))
    kinds = {example.kind for example in first}
    assert kinds == {"root", "child", "serial"}
    for example in first:
        assert example.context[0] == "<bos>" and example.context[-1] == "<go>"
        assert example.written[-1] in ("<join>", "<eos>")
        mode = example.context[1]
        if mode != "<sub>":
            numbers = [int(w) for w in example.context[2 : example.context.index(";")]]
            problem = Problem(tuple(numbers[1:]), numbers[0])
            assert split_of(problem) == "train"


def test_batches_hold_every_example_whole_and_train_only_what_is_written() -> None:
    mixture, size = Mixture(serial=0.5), 480
    batches = list(block(mixture, size, 3, "a"))
    again = list(block(mixture, size, 3, "a"))
    assert len(batches) == 3
    assert all((x.inputs == y.inputs).all() for x, y in zip(batches, again, strict=True))
    known: dict[tuple[int, ...], Example] = {}
    for example in islice(examples(mixture, "a"), 1000):
        known[tuple(ID[w] for w in example.context + example.written)] = example
    for batch in batches:
        rows, length = batch.inputs.shape
        assert rows * length == size and batch.labels.shape == (rows, length)
        assert length in buckets(size)
        tokens = 0
        for inputs, labels in zip(batch.inputs, batch.labels, strict=True):
            trained = np.flatnonzero(labels != IGNORE)
            start, end = int(trained[0]), int(trained[-1])
            assert trained.tolist() == list(range(start, end + 1))
            ids = (*inputs[: end + 1].tolist(), int(labels[end]))
            example = known[ids]
            assert [VOCABULARY[i] for i in labels[trained]] == example.written
            assert [VOCABULARY[i] for i in ids[: start + 1]] == example.context
            assert set(inputs[end + 1 :].tolist()) <= {ID["<pad>"]}
            tokens += len(ids)
        assert batch.tokens == tokens
    other = next(iter(block(mixture, size, 1, "b")))
    assert other.inputs.tolist() != batches[0].inputs.tolist()
