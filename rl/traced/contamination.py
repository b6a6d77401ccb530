"""Whether a text holds a question that evaluations ask.

Overlap of 13-grams of normalised words, as it is usual since Brown et al. 2020 (appendix C), and
the whole question where it is shorter.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

from eval.tasks import parse_tasks, task_of
from reason.errors import UsageError

GRAM = 13
SHORT = 8
"""A question of fewer words is found only where it is the whole prompt: too many texts hold it."""
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Letters and digits in the compatibility form of Unicode, without case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Evaluations:
    """The questions of evaluation sets, to be looked for."""

    def __init__(self, questions: Iterable[tuple[str, str]], gram: int = GRAM) -> None:
        """`questions`: a name to tell it by, and its text. Raises UsageError for `gram` under 2."""
        if gram < 2:
            raise UsageError(f"gram must be 2 or more words, got {gram}")
        self.gram, self.count = gram, 0
        self._grams: dict[int, dict[tuple[str, ...], str]] = {}
        self._whole: dict[tuple[str, ...], str] = {}
        digest = sha256()
        for name, text in questions:
            found = words(text)
            self.count += 1
            digest.update(" ".join(found).encode() + b"\n")
            self._whole.setdefault(tuple(found), name)
            size = min(gram, len(found))
            if size >= min(SHORT, gram):
                table = self._grams.setdefault(size, {})
                for one in _grams(found, size):
                    table.setdefault(one, name)
        self.digest = digest.hexdigest() if self.count else ""
        """Of all questions, in words; empty without any."""

    @classmethod
    def of(cls, names: Sequence[str], gram: int = GRAM) -> "Evaluations":
        """The sets of these names, as `reason eval` takes them: aime24, math500@copy.jsonl, own
        files. Raises UsageError for one that does not exist."""
        tasks = parse_tasks(",".join(names)) if names else []
        return cls(
            (
                (f"{task.title}/{item.id}", item.title)
                for task in tasks
                for item in task_of(task.name).items(None, 0, "")
            ),
            gram,
        )

    def overlap(self, prompt: str, *others: str) -> str | None:
        """The question that is the prompt, or shares words in a row with it or with other texts;
        None if there is none."""
        asked = words(prompt)
        if name := self._whole.get(tuple(asked)):
            return name
        for found in (asked, *map(words, others)):
            for size, table in self._grams.items():
                for one in _grams(found, size):
                    if one in table:
                        return table[one]
        return None


def _grams(found: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(found[at : at + size]) for at in range(len(found) - size + 1))
