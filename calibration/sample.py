"""The scores a calibration is made of, with the question, turn and length of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.conformal import Array
from reason.errors import UsageError

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores in ascending order; made by `of`, whatever the order they arrived in.

    The exchangeable unit is the question: several chunks of one question tell less than as many of
    different questions. So splits are by question, and so is what may be judged.
    """

    scores: Array
    questions: tuple[str, ...]
    turns: Whole
    lengths: Whole
    """Tokens of the chunks; 0 where nobody counted."""

    @classmethod
    def of(
        cls,
        scores: ArrayLike,
        questions: Sequence[object],
        turns: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> "Sample":
        """One entry per chunk; turns and lengths are 0 where they are not given.

        Raises UsageError for columns of different lengths, a score that is not finite, and a turn
        or length that is no whole number from 0 on.
        """
        values = np.asarray(scores, float).ravel()
        names = np.array([str(question) for question in questions], dtype=object)
        by_turn = _whole(turns, "turn", len(values))
        by_length = _whole(lengths, "length", len(values))
        columns = {"questions": names, "turns": by_turn, "lengths": by_length}
        for name, column in columns.items():
            if len(column) != len(values):
                raise UsageError(f"{len(values)} scores have {len(column)} {name}: one for each")
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UsageError(
                f"score {place} of the calibration is {values[place]} (question {names[place]}), "
                "expected a finite number: leave such chunks out"
            )
        order = np.lexsort((by_length, by_turn, names.astype(str), values))
        return cls(values[order], tuple(names[order]), by_turn[order], by_length[order])

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def known(self) -> frozenset[str]:
        """Its questions."""
        return frozenset(self.questions)

    def where(self, chosen: NDArray[np.bool_]) -> "Sample":
        """The entries that are chosen, by a flag for each."""
        questions = tuple(compress(self.questions, chosen.tolist()))
        return Sample(self.scores[chosen], questions, self.turns[chosen], self.lengths[chosen])

    def of_questions(self, questions: Iterable[str]) -> "Sample":
        """The entries of these questions."""
        wanted = frozenset(questions)
        return self.where(np.array([q in wanted for q in self.questions], bool))

    def split(self, seed: int, share: float = 0.5) -> "tuple[Sample, Sample]":
        """That share of the questions, drawn at random, and the other ones. Raises UsageError where
        one of the two would be empty."""
        names = sorted(self.known)
        first = round(len(names) * share)
        if not 0 < first < len(names):
            raise UsageError(
                f"{share:g} of {len(names)} questions leaves one side without any: give a share "
                "that leaves a question on both"
            )
        drawn = np.random.default_rng(seed).permutation(len(names))[:first]
        chosen = {names[i] for i in drawn.tolist()}
        flags = np.array([q in chosen for q in self.questions], bool)
        return self.where(flags), self.where(~flags)

    def one_per_question(self, seed: int) -> "Sample":
        """One entry of each question, drawn at random.

        The rate of such a calibration is exact for the chunk of a new question, which that of a
        calibration with all entries is on average only where questions have equally many. It is
        no more certain: only more questions make it so.
        """
        drawn = np.random.default_rng(seed).permutation(len(self))
        first = {self.questions[i]: i for i in drawn.tolist()[::-1]}
        flags = np.zeros(len(self), bool)
        flags[list(first.values())] = True
        return self.where(flags)


def _whole(column: ArrayLike | None, name: str, count: int) -> Whole:
    if column is None:
        return np.zeros(count, np.int64)
    found = np.asarray(column)
    wrong = [v for v in found.ravel().tolist() if v != v or v < 0 or v != int(v)]
    if wrong:
        raise UsageError(f"a {name} of the calibration is {wrong[0]}, expected 0, 1, 2, …")
    return found.ravel().astype(np.int64)
