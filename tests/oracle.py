"""A model that has learnt Countdown's search traces to the letter, as a script.

It writes what rl/traces.py would have taught it, and now and then, by the request's seed, a wrong
final answer or none.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from eval.countdown import Problem
from reason.backends.scripted import Script, ScriptedBackend
from reason.errors import BackendError
from reason.types import SamplingParams
from rl import traces


def oracle_script(wrong: float = 0.0, silent: float = 0.0) -> Script:
    """The script of an oracle that ends a share `wrong` of its problems with a false claim and a
    share `silent` with "fail"."""

    def write(context: str, params: SamplingParams) -> str:
        words = context.split()
        written = next((e.written for e in _examples(words) if e.context == words), None)
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
    target, *rest = (int(word) for word in opening if word != ";")
    if mode == "<sub>":
        return traces.child(tuple(rest), target, rng)
    k = rest.pop()
    problem = Problem(tuple(rest), target)
    if mode == "<par>":
        return traces.parallel(problem, k, rng)
    return iter((traces.serial(problem, k, rng),))
