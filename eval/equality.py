"""Whether two answers are the same mathematics, by math-verify; a process of eval.sandbox.

math-verify (Hugging Face) reads LaTeX into sympy and compares there. It uses signals for its own
time limit and cannot run in threads, so that its limit is off and the sandbox's is on.
"""

import logging
import sys
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from eval.sandbox import serve

# Nothing but the whole box is read: without an anchor, math-verify takes the last number it finds.
_WHOLE = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]


@lru_cache(maxsize=256)
def read(text: str) -> list[Any]:
    """What math-verify reads: an object of sympy where it can, and the text."""
    found: list[Any] = parse(f"\\boxed{{{text}}}", _WHOLE, parsing_timeout=None)
    return found


def readable(parsed: list[Any]) -> bool:
    return any(not isinstance(part, str) for part in parsed)


def compare(request: dict[str, Any]) -> dict[str, Any]:
    """Of "reference" and, if there is one, "answer": can they be read, are they the same?"""
    reference = read(request["reference"])
    reply = {"reference": readable(reference)}
    if "answer" in request:
        answer = read(request["answer"])
        reply["answer"] = readable(answer)
        reply["same"] = bool(verify(reference, answer, timeout_seconds=None))
    return reply


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(compare, float(sys.argv[1]), int(sys.argv[2]))
