"""Countdown traces in ThreadWeaver's layout: outlines, then a thread for each, in one context.

The structure is that of Lian et al. 2025 (section 3 and Figure 3), in the one-word tokens of
rl/traces.py:

    <bos> <weave> T a b c d ; k <go>
    <Parallel> <Outlines> <Outline> 1 : x op y = r </Outline> ... </Outlines>
    <Thread> 1 : x op y = r | c d r ; SEARCH <ret> PATH | fail </Thread> <Thread> 2 : ...
    </Parallel> <ans> PATH | fail <eos>

A thread is a fork: it sees all before the block and every outline, but no sibling. What has no
success in it is followed by the next block.
"""

import random
from collections.abc import Iterator

from eval.countdown import Problem, moves
from rl.traces import ROUNDS, Example, Words, branch, ending, path, prompt, rotated

BRANCHES = 3
"""Threads of a run that are examples of their own, one that succeeds among them if there is one."""


def woven(
    problem: Problem, k: int, rng: random.Random, branches: int = BRANCHES
) -> Iterator[Example]:
    """The whole run as one sequence (appendix B of the paper), then `branches` of its threads as
    they are asked.

    `k` threads to a block, 0 for all first operations in one.
    """
    opening = prompt("weave", problem.target, problem.numbers, k)
    left = rotated(problem, k, rng) if k else list(moves(problem.numbers))
    merged: Words = []
    threads: list[tuple[bool, Example]] = []
    best, rounds, width = None, 0, k or len(left)
    while left and not best and rounds < ROUNDS:
        batch, left, rounds = left[:width], left[width:], rounds + 1
        merged += ["<Parallel>", "<Outlines>"]
        for number, (step, _) in enumerate(batch, 1):
            merged += ["<Outline>", str(number), ":", *str(step).split(), "</Outline>"]
        merged.append("</Outlines>")
        context, spliced = [*opening, *merged], Words()
        for number, (step, rest) in enumerate(batch, 1):
            header, written = ["<Thread>", str(number), ":"], Words()
            found = branch(step, rest, problem.target, written)
            best = best or found
            written += ["<ret>", *(path(found) if found else ["fail"]), "</Thread>"]
            threads.append((found is not None, Example("thread", [*context, *header], written)))
            spliced += [*header, *written]
        merged += [*spliced, "</Parallel>"]
    yield Example("woven", opening, merged + ending("<ans>", best))
    rng.shuffle(threads)
    threads.sort(key=lambda thread: not thread[0])
    good, others = threads[:1], threads[1:]
    drawn = rng.sample(others, min(len(others), branches - 1))
    yield from (example for _, example in [*good, *drawn])
