"""Countdown traces of attempts that read earlier ones and go on from there.

    <bos> <try> T a b c d ; k [<att> SOLUTION]... <go>  CHECK... WALK <ans> SOLUTION <eos>

SOLUTION is a PATH, or of a failed attempt `tried` and the first operations it has ruled out. CHECK
replays an earlier PATH step by step and ends with `hit` or, at the first step that is wrong, `no`;
WALK goes through the first operations in canonical order from some start, round the end: what an
earlier attempt has ruled out is only named (`x op y = r tried`), of the rest `k` are searched.

A search that was cut answers from what it has when `<ans>` is forced on it, and a serial search
(rl/traces.py) that gave up goes on with its next operations after `wait`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from eval.countdown import Numbers, Problem, Step, apply, moves, solve
from rl.traces import Example, Words, branch, ending, path, prompt, rotated

MOST = 4
"""Attempts in a workspace."""
WAITS = 3
"""How often a serial search is sent on."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier attempt: the solution it claims, or the first operations it has ruled out."""

    claim: bool
    steps: tuple[Step, ...]

    def words(self) -> Words:
        """Its solution, as the next attempt reads it."""
        return path(self.steps) if self.claim else ruled_out(self.steps)


@dataclass(slots=True)
class Walk:
    """A search through first operations as it is written down."""

    context: Words
    written: Words = field(default_factory=Words)
    passed: list[tuple[int, Step]] = field(default_factory=list)
    """How long the text was when an operation was done with, and which."""
    found: tuple[Step, ...] | None = None

    def solution(self, length: int) -> Words:
        """What there is to say for it once so much is written."""
        if self.found and length == len(self.written):
            return path(self.found)
        return ruled_out([step for end, step in self.passed if end <= length])

    def whole(self) -> Example:
        """The attempt to its end."""
        answer = ["<ans>", *self.solution(len(self.written)), "<eos>"]
        return Example("attempt", self.context, [*self.written, *answer])

    def cut(self, rng: random.Random) -> Example:
        """The attempt cut somewhere, and what it answers when it has to."""
        length = rng.randint(0, len(self.written))
        context = [*self.context, *self.written[:length], "<ans>"]
        return Example("forced", context, [*self.solution(length), "<eos>"])


def opening(problem: Problem, k: int, attempts: Sequence[Words]) -> Words:
    """The prompt of an attempt that is shown the solutions of earlier ones."""
    shown = [word for attempt in attempts for word in ["<att>", *attempt]]
    return [*prompt("try", problem.target, problem.numbers, k)[:-1], *shown, "<go>"]


def ruled_out(steps: Sequence[Step]) -> Words:
    """The solution of an attempt that found nothing."""
    return ["tried", *path(tuple(steps))]


def checked(steps: Sequence[Step], problem: Problem, out: Words) -> bool:
    """Replay a claimed solution on the numbers, appended to `out`; whether it holds."""
    pool: Numbers = problem.numbers
    out.append("check")
    for step in steps:
        out += str(step).split()
        rest = list(pool)
        for number in (step.left, step.right):
            if number not in rest:
                break
            rest.remove(number)
        if len(rest) + 2 != len(pool) or apply(step.op, step.left, step.right) != step.result:
            out.append("no")
            return False
        pool = (*rest, step.result)
        if len(pool) > 1:
            out += ["|", *map(str, pool), ";"]
    out.append("hit" if pool == (problem.target,) else "no")
    return pool == (problem.target,)


def attempt(problem: Problem, k: int, earlier: Sequence[Attempt], rng: random.Random) -> Walk:
    """An attempt that reads earlier ones and searches `k` first operations that none ruled out."""
    walk = Walk(opening(problem, k, [each.words() for each in earlier]))
    for each in earlier:
        if each.claim and checked(each.steps, problem, walk.written):
            walk.found = each.steps
            return walk
    ruled = [each.steps for each in earlier if not each.claim]
    known = {step for steps in ruled for step in steps}
    order = rotated(problem, k, rng)
    if ruled:
        first = rng.choice(ruled)[0]
        place = [step for step, _ in order].index(first)
        order = [*order[place:], *order[:place]]
    left = k
    for step, rest in order:
        if step in known:
            walk.written += [*str(step).split(), "tried"]
        elif left:
            left -= 1
            walk.found = branch(step, rest, problem.target, walk.written)
            if walk.found:
                return walk
        else:
            break
        walk.passed.append((len(walk.written), step))
    return walk


def workspace(problem: Problem, rng: random.Random) -> list[Attempt]:
    """What earlier attempts may have left behind: right claims, wrong ones, steps ruled out.

    Most workspaces hold no right claim, as it is only then that there is something to do.
    """
    order = moves(problem.numbers)
    right = rng.random() < 0.25
    found = []
    for _ in range(rng.randint(1, MOST)):
        start, length = rng.randrange(len(order)), rng.randint(1, len(order))
        steps: list[Step] = []
        for i in range(start, start + length):
            step, rest = order[i % len(order)]
            tail = solve(rest, problem.target)
            if tail is not None:
                if right:
                    found.append(Attempt(True, (step, *tail)))
                    steps = []
                break
            steps.append(step)
        if steps:
            found.append(Attempt(False, tuple(steps)))
    if rng.random() < 0.25 and len(found) < MOST:
        found.insert(rng.randint(0, len(found)), Attempt(True, false_claim(problem, rng)))
    return found


def false_claim(problem: Problem, rng: random.Random) -> tuple[Step, ...]:
    """Steps that end at the target, mostly without getting there: the last is no arithmetic, or one
    works on a number that is not there."""
    pool, steps = problem.numbers, []
    while len(pool) > 1:
        step, pool = rng.choice(moves(pool))
        steps.append(step)
    if rng.random() < 0.5:
        place, other = rng.randrange(len(steps)), rng.choice(problem.numbers)
        step = steps[place]
        larger, smaller = max(step.left, other), min(step.left, other)
        steps[place] = Step(larger, step.op, smaller, step.result)
    last = steps[-1]
    steps[-1] = Step(last.left, last.op, last.right, problem.target)
    return tuple(steps)


def sent_on(problem: Problem, k: int, rng: random.Random) -> Example | None:
    """A serial search that gave up, was sent on by `wait` some times, and what it then writes.

    None where it would not have given up.
    """
    order, waits = rotated(problem, k, rng), rng.randint(1, WAITS)
    before: Words = []
    for turn in range(waits):
        for step, rest in order[turn * k : (turn + 1) * k]:
            if branch(step, rest, problem.target, before):
                return None
        before.append("wait")
    written: Words = []
    found = None
    for step, rest in order[waits * k : (waits + 1) * k]:
        found = branch(step, rest, problem.target, written)
        if found:
            break
    context = [*prompt("seq", problem.target, problem.numbers, k), *before]
    return Example("serial", context, written + ending("<ans>", found))


def serial_cut(example: Example, rng: random.Random) -> Example:
    """A serial search cut somewhere before its end, which has to answer that it found nothing."""
    end = example.written.index("<ans>")
    context = [*example.context, *example.written[: rng.randrange(end)], "<ans>"]
    return Example("forced", context, ["fail", "<eos>"])
