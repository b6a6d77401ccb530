"""Step two: what the threads of a block will do, said before any of them has begun.

Lian et al. 2025, appendix C, step 4. An outline is read by the thread itself and by all its
siblings, so that one which tells a result would hand on what no thread has found yet.
"""

import re
from collections.abc import Sequence

from rl.traced.teacher import inside
from rl.traced.unusable import Unusable
from rl.traced.wellformed import TAG

LINES = 50
"""Of what stands before a block, the last lines are shown."""
LONGEST = 400
"""Most characters of an outline: one or two sentences."""
_LINE = re.compile(r"([0-9]{1,4}) *: *(\S.*)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def question(problem: str, before: str, threads: Sequence[str]) -> str:
    """What the teacher is asked about one block."""
    shown = "\n".join(before.splitlines()[-LINES:]).strip()
    parts = "\n".join(f"<part {n}>\n{text}\n</part {n}>" for n, text in enumerate(threads, 1))
    return (
        "Somebody solves a problem. After what is written so far, the work is divided into "
        f"{len(threads)} parts that are done at the same time.\n\n"
        f"<problem>\n{problem.strip()}\n</problem>\n\n<so_far>\n{shown}\n</so_far>\n\n{parts}\n\n"
        "Write for each part what it is going to do, as a plan made before the work: one sentence, "
        "two if it must be. Say nothing that is only known once the part is done: no results, no "
        "numbers that the problem and the text so far do not have, no conclusions. Do not refer to "
        "other parts. Plain text, one line for each part:\n"
        "<outlines>\n1: what the first part will do\n2: what the second part will do\n</outlines>"
    )


def read_outlines(answer: str, count: int, known: str) -> tuple[str, ...]:
    """The outlines of such an answer; `known` is all that may be told: the problem and what stands
    before the block.

    Raises Unusable unless there are `count` of them, numbered 1, 2, …, each a line of text without
    tags, and for a number of two digits or more, or a decimal, that is not in `known`.
    """
    found: list[str] = []
    for line in filter(None, map(str.strip, inside(answer, "outlines").splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise Unusable("unparsable", f"expected '1: what part 1 will do', got {line[:80]!r}")
        if int(match[1]) != len(found) + 1:
            raise Unusable(
                "outline numbers", f"outline {match[1]} stands where {len(found) + 1} should"
            )
        if tag := TAG.search(match[2]):
            raise Unusable("tags in an outline", f"{tag[0]} in outline {match[1]}")
        if len(match[2]) > LONGEST:
            raise Unusable("outline too long", f"outline {match[1]} has over {LONGEST} characters")
        found.append(match[2])
    if len(found) != count:
        raise Unusable("outline numbers", f"expected {count} outlines, got {len(found)}")
    numbers = set(_NUMBER.findall(known))
    for number, text in enumerate(found, 1):
        told = [n for n in _NUMBER.findall(text) if len(n) > 1 and n not in numbers]
        if told:
            raise Unusable("outline tells a result", f"{told[0]} in outline {number}")
    return tuple(found)
