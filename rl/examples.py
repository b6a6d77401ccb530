"""The stream of examples that a stage of training draws from."""

import random
from collections.abc import Iterator
from itertools import cycle

from eval.countdown import LARGEST_NUMBER, generate, moves, solve
from eval.tasks import SMALL
from rl.attempts import attempt, sent_on, serial_cut, workspace
from rl.recipe import Mixture
from rl.traces import Example, child, parallel, serial
from rl.weaving import woven


def examples(mixture: Mixture, seed: int | str) -> Iterator[Example]:
    """An endless, seeded stream of training examples from the training split."""
    rng = random.Random(f"traces/{seed}")
    streams = {  # over again from the first problem, should they run out
        (n, largest): cycle(generate(n, "train", seed, largest))
        for n in (3, 4, 5)
        for largest in (SMALL, LARGEST_NUMBER)
    }
    while True:
        draw = rng.random()
        n = 3 if draw < mixture.three else 5 if draw < mixture.three + mixture.five else 4
        small = mixture.small and rng.random() < mixture.small
        problem = next(streams[n, SMALL if small else LARGEST_NUMBER])
        if mixture.root:
            if n == 5 or rng.random() < mixture.all_children:
                yield from parallel(problem, 0, rng)
            for _ in range(mixture.narrow if n < 5 else 0):
                yield from parallel(problem, rng.choice((2, 4, 8) if n == 4 else (2, 4)), rng)
        states = [rest for _, rest in moves(problem.numbers)]
        drawn = rng.sample(states, min(len(states), mixture.children))
        good = [s for s in states if solve(s, problem.target) is not None]
        if drawn and good:
            drawn[0] = rng.choice(good)
        for state in drawn:
            yield from child(state, problem.target, rng)
        if n == 5:
            continue
        if rng.random() < mixture.serial:
            one = serial(problem, rng.choice((0, 0, 8)), rng)
            yield one
            if mixture.cut and rng.random() < mixture.cut:
                yield serial_cut(one, rng)
        if mixture.weave and rng.random() < mixture.weave:
            yield from woven(problem, rng.choice((0, 2, 4, 8)), rng)
        if mixture.attempts and rng.random() < mixture.attempts:
            k = rng.choice((2, 4, 8))
            earlier = workspace(problem, rng) if rng.random() < 0.75 else []
            walk = attempt(problem, k, earlier, rng)
            yield walk.whole()
            if mixture.cut and rng.random() < mixture.cut:
                yield walk.cut(rng)
        if mixture.sent_on and rng.random() < mixture.sent_on:
            further = sent_on(problem, rng.choice((2, 4, 8)), rng)
            if further:
                yield further
