"""Step three: threads that make sense to somebody who has not read their siblings.

Lian et al. 2025, appendix C, step 3: the teacher names passages and what should stand there, and
all else stays, letter by letter. Here it is shown every earlier sibling, not only the last one, and
answers between tags, where formulas need no escapes.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from rl.traced.teacher import inside
from rl.traced.unusable import Unusable
from rl.traced.wellformed import TAG

BEFORE, EDGE = 20, 5
"""Lines shown of what stands before the block; of a sibling's beginning and of its end."""
_EDIT = re.compile(r"\s*<edit>\s*<old>(.*?)</old>\s*<new>(.*?)</new>\s*</edit>", re.DOTALL)
_MARK = re.compile(r"</?(?:edits?|old|new)>")


def question(before: str, outline: str, thread: str, siblings: Sequence[str]) -> str:
    """What the teacher is asked about one thread; `siblings` are those that come before it."""
    shown = "\n".join(before.splitlines()[-BEFORE:]).strip()
    unseen = "\n".join(
        f"<unseen {n}>\n{_edges(text)}\n</unseen {n}>" for n, text in enumerate(siblings, 1)
    )
    return (
        "A text was written in one go. Now one part of it is to be read by somebody who has the "
        "text so far, but none of the unseen parts, which are written at the same time.\n\n"
        f"<so_far>\n{shown}\n</so_far>\n\n{unseen}\n\n<plan>\n{outline}\n</plan>\n\n"
        f"<part>\n{thread}\n</part>\n\n"
        "Find every passage of the part that refers to an unseen part: 'as above', 'similarly', "
        "'the other case', 'now', symbols that only an unseen part defines, results that only an "
        "unseen part has. Replace each by words that need nothing unseen, changing as little as "
        "you can. Leave all else as it is: do not correct, shorten or improve. `old` must be "
        "copied from the part exactly, and is replaced wherever it stands. Without such passages "
        "leave the answer empty: <edits></edits>\n"
        "<edits>\n<edit><old>As in the first case, we</old><new>We</new></edit>\n</edits>"
    )


def rewritten(answer: str, thread: str, floor: float) -> str:
    """The thread with the edits of such an answer.

    Raises Unusable for what is no list of edits, for a passage that is not in the thread, for tags
    of the format in a new one, and for a thread whose words are then less similar than `floor`, a
    share from 0 to 1, to those it had.
    """
    changed = thread
    for old, new in _edits(inside(answer, "edits")):
        if not old.strip() or old not in changed:
            raise Unusable("not in the thread", f"the passage {old[:80]!r}")
        if tag := TAG.search(new):
            raise Unusable("tags in a thread", f"{tag[0]} in {new[:80]!r}")
        changed = changed.replace(old, new)
    changed = changed.strip()
    likeness = similarity(thread, changed)
    if not changed or likeness < floor:
        raise Unusable(
            "changed too much", f"{likeness:.2f} of the words are the same, expected {floor:g}"
        )
    return changed


def similarity(one: str, other: str) -> float:
    """2 M / T over words (Ratcliff and Obershelp): M in common in the same order, T in all."""
    if one == other:
        return 1.0
    return SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _edits(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while match := _EDIT.match(text, at):
        if _MARK.search(match[1]) or _MARK.search(match[2]):
            raise Unusable("unparsable", f"an edit within an edit: {match[0].strip()[:80]!r}")
        found.append((match[1], match[2]))
        at = match.end()
    if rest := text[at:].strip():
        raise Unusable(
            "unparsable", f"expected <edit><old>…</old><new>…</new></edit>, got {rest[:80]!r}"
        )
    return found


def _edges(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) <= 2 * EDGE:
        return "\n".join(lines)
    return "\n".join([*lines[:EDGE], "…", *lines[-EDGE:]])
