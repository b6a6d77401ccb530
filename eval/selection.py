"""Which problems and which runs a page shows, where it cannot hold them all."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from eval.samples import Sample
from eval.summary import Summary

Run = tuple[int, Sample]
"""The number of the evaluation, and the row."""


@dataclass(frozen=True, slots=True)
class Question:
    """A problem, and what came of it: rows by evaluation, where it was asked."""

    id: str
    rows: Mapping[int, Sequence[Sample]]

    @property
    def shares(self) -> list[float]:
        """Of right answers, by evaluation."""
        return [sum(r.correct for r in rows) / len(rows) for rows in self.rows.values()]

    @property
    def differs(self) -> bool:
        """Whether some method is right more often than another."""
        return len(set(self.shares)) > 1

    @property
    def solved(self) -> bool:
        """Whether all runs were right."""
        return min(self.shares) == 1.0


def questions(summaries: Sequence[Summary]) -> list[Question]:
    """All problems of a task; those that were often answered right come first."""
    found: dict[str, dict[int, list[Sample]]] = {}
    for number, summary in enumerate(summaries):
        for row in summary.evaluation.rows:
            found.setdefault(row.id, {}).setdefault(number, []).append(row)
    all_of_them = [Question(name, rows) for name, rows in found.items()]
    return sorted(all_of_them, key=lambda q: (-sum(q.shares) / len(q.shares), _lot(q.id)))


def telling(found: Sequence[Question]) -> list[Question]:
    """Problems by what there is to be learnt: in turns one on which methods differ, one that was
    answered wrongly, and one that all solved; each kind in an order drawn by lot."""
    drawn = sorted(found, key=lambda q: _lot(q.id))
    differ = [q for q in drawn if q.differs]
    wrong = [q for q in drawn if not q.differs and not q.solved]
    right = [q for q in drawn if not q.differs and q.solved]
    turns = zip_longest(differ, wrong, right)
    return [q for turn in turns for q in turn if q is not None]


def runs(found: Sequence[Question]) -> Iterator[Run]:
    """All runs of these problems, the most telling first: of every problem one run of each method,
    a wrong one if there is, then of every problem another, and so on."""
    depth = max((len(rows) for q in found for rows in q.rows.values()), default=0)
    order = [{number: _in_turns(rows) for number, rows in q.rows.items()} for q in found]
    for at in range(depth):
        for question in order:
            for number, rows in question.items():
                if at < len(rows):
                    yield number, rows[at]


def _in_turns(rows: Sequence[Sample]) -> list[Sample]:
    """A wrong one, a right one, and so on, in order of their repeats."""
    ordered = sorted(rows, key=lambda row: row.repeat)
    wrong = [row for row in ordered if not row.correct]
    right = [row for row in ordered if row.correct]
    return [row for row in chain.from_iterable(zip_longest(wrong, right)) if row is not None]


def _lot(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="replace"), digest_size=8).digest()
