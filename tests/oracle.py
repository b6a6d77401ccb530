"""A model that has learnt Countdown's search traces to the letter, as a script.

It writes what rl/traces.py would have taught it, and now and then, by the request's seed, a wrong
final answer or none.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from eval.countdown import Problem, Step, parse_steps
from reason.backends.scripted import Script, ScriptedBackend
from reason.errors import BackendError
from reason.types import SamplingParams
from rl import attempts, traces, weaving


def oracle_script(wrong: float = 0.0, silent: float = 0.0) -> Script:
    """The script of an oracle that ends a share `wrong` of its problems with a false claim and a
    share `silent` with "fail"."""

    def write(context: str, params: SamplingParams) -> str:
        words = context.split()
        whole = [(e.context, e.context + e.written) for e in _examples(words)]
        exact = (sequence for asked, sequence in whole if asked == words)
        going_on = (sequence for _, sequence in whole if sequence[: len(words)] == words)
        found = next(exact, None) or next(going_on, None)
        written = found and found[len(words) :]
        if written is None:
            raise BackendError(f"the oracle never learnt to go on from {context!r}")
        text = " ".join(written)
        before, mark, answer = text.partition("<ans>")
        if mark:
            draw = random.Random(f"{params.seed}/{context}").random()
            if draw < wrong:
                answer = answer.replace(" <eos>", "1 <eos>")
            elif draw < wrong + silent:
                answer = " fail <eos>"
        return before + mark + answer

    return write


def oracle(
    wrong: float = 0.0, silent: float = 0.0, *, delay: float = 0.0, script: Script | None = None
) -> ScriptedBackend:
    """The oracle (or another script) as a backend that says it speaks the countdown grammar."""
    script = script or oracle_script(wrong, silent)
    backend = ScriptedBackend(script, words=True, chunk=64, delay=delay, model="oracle")
    backend.info = replace(backend.info, grammar="countdown")
    return backend


def _examples(words: list[str]) -> Iterator[traces.Example]:
    """The requests of the run that a context belongs to."""
    mode, opening = words[1], words[2 : words.index("<go>")]
    rng = random.Random(" ".join(opening))
    if mode == "<try>":
        return _attempts(words, opening, rng)
    target, *rest = (int(word) for word in opening if word != ";")
    if mode == "<sub>":
        return traces.child(tuple(rest), target, rng)
    k = rest.pop()
    problem = Problem(tuple(rest), target)
    if mode == "<par>":
        return traces.parallel(problem, k, rng)
    if mode == "<weave>":
        return weaving.woven(problem, k, rng, branches=100)
    return iter((traces.serial(problem, k, rng),))


def _attempts(words: list[str], opening: list[str], rng: random.Random) -> Iterator[traces.Example]:
    """The attempt, and if its answer was forced, the answer."""
    asked, *earlier = " ".join(opening).split(" <att> ")
    target, *numbers, k = (int(word) for word in asked.split() if word != ";")
    shown = [
        attempts.Attempt(not text.startswith("tried"), _steps(text.removeprefix("tried ")))
        for text in earlier
    ]
    walk = attempts.attempt(Problem(tuple(numbers), target), k, shown, rng)
    if words[-1] == "<ans>":
        answer = [*walk.solution(len(words) - len(walk.context) - 1), "<eos>"]
        return iter([traces.Example("forced", words, answer)])
    return iter([walk.whole()])


def _steps(text: str) -> tuple[Step, ...]:
    steps = parse_steps(text)
    assert steps is not None, text
    return tuple(steps)
