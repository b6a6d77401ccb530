"""Step one: which steps a chain consists of, and which earlier ones each of them uses.

Lian et al. 2025, appendix C, step 1 asks in six turns for ranges of lines, groups and checks. Here
the teacher says in one answer what only a reader can: steps and their dependencies. What is
independent follows from them (blocks.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from rl.traced.teacher import inside
from rl.traced.unusable import Unusable

_LINE = re.compile(
    r"S([0-9]{1,5}): *([0-9]{1,6})(?: *- *([0-9]{1,6}))? *\| *"
    r"(none|S[0-9]{1,5}(?: *, *S[0-9]{1,5})*)"
)


@dataclass(frozen=True, slots=True)
class Step:
    """Neighbouring paragraphs `first` to `last` (from 0, inclusive), and the indices of the steps
    whose results or definitions they use."""

    first: int
    last: int
    uses: tuple[int, ...]


def question(problem: str, parts: Sequence[str]) -> str:
    """What the teacher is asked; paragraphs are numbered, so that none has to be counted."""
    listed = "\n".join(f"[{number}] {part.strip()}" for number, part in enumerate(parts, 1))
    return (
        "Below are a problem and the reasoning that solved it, in numbered paragraphs. Divide the "
        "reasoning into steps, and say for every step which earlier steps it depends on.\n\n"
        f"<problem>\n{problem.strip()}\n</problem>\n\n<reasoning>\n{listed}\n</reasoning>\n\n"
        "A step is one paragraph or several neighbouring ones that belong together; separate "
        "cases, separate attempts and separate checks are separate steps. Together the steps cover "
        "every paragraph, failed attempts included, in order and without a gap.\n"
        "A step depends on another if it uses its results, its notation or its decision, or refers "
        "to it; understanding the problem is what all else depends on. Two checks of one result, "
        "or two cases of one distinction, do not depend on each other. Leave out no dependency: a "
        "step must make sense to somebody who has read only what it depends on.\n\n"
        "Answer with one line for each step, its number, its paragraphs, and the steps that it "
        "depends on directly:\n"
        "<steps>\nS1: 1-2 | none\nS2: 3-6 | S1\nS3: 7 | S1\nS4: 8-9 | S2, S3\n</steps>"
    )


def read_steps(answer: str, count: int) -> list[Step]:
    """The steps of such an answer about `count` paragraphs.

    Raises Unusable for a line that is none, for steps that are not numbered 1, 2, …, for
    paragraphs or steps that do not exist, for gaps, and for dependencies that go round in a circle
    or forward.
    """
    steps: list[Step] = []
    for line in filter(None, map(str.strip, inside(answer, "steps").splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise Unusable("unparsable", f"expected 'S1: 1-2 | none', got {line[:80]!r}")
        number, first = int(match[1]), int(match[2])
        last = int(match[3] or match[2])
        if number != len(steps) + 1:
            raise Unusable("step numbers", f"S{number} stands where S{len(steps) + 1} should")
        if not 1 <= first <= last <= count:
            raise Unusable("out of range", f"S{number} has paragraphs {first}-{last} of 1-{count}")
        if first - 1 != (steps[-1].last + 1 if steps else 0):
            raise Unusable(
                "gap", f"S{number} begins with paragraph {first}, not where the last ended"
            )
        uses = (
            () if match[4] == "none" else tuple(int(n) - 1 for n in re.findall("[0-9]+", match[4]))
        )
        steps.append(Step(first - 1, last - 1, tuple(sorted(set(uses)))))
    if not steps or steps[-1].last != count - 1:
        done = steps[-1].last + 1 if steps else 0
        raise Unusable("gap", f"the steps end with paragraph {done} of {count}")
    _check(steps)
    return steps


def _check(steps: Sequence[Step]) -> None:
    for number, step in enumerate(steps):
        if wrong := [use for use in step.uses if not 0 <= use < len(steps)]:
            raise Unusable(
                "out of range", f"S{number + 1} uses S{wrong[0] + 1} of S1-S{len(steps)}"
            )
    try:
        TopologicalSorter({n: step.uses for n, step in enumerate(steps)}).prepare()
    except CycleError as error:
        circle = " uses ".join(f"S{n + 1}" for n in reversed(error.args[1]))
        raise Unusable("cycle", circle) from error
    for number, step in enumerate(steps):
        if step.uses and step.uses[-1] > number:
            raise Unusable("uses a later step", f"S{number + 1} uses S{step.uses[-1] + 1}")
