"""Calibrating on the run itself: each question is judged by the scores of the other folds.

Later turns have take-overs in their history, so their scores must come from the pipeline as it
will run. All chains go on turn by turn together: once all have their scores of a turn, those of
each fold are compared with those of all others.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from math import isfinite

from calibration.judging import Judge, Judgement, Mode
from calibration.sample import Sample
from reason.errors import UsageError


class Folding:
    """A judge for `chains` chains of each of these questions, none of which it knows before.

    Raises UsageError for fewer than two folds, or fewer questions than folds.
    """

    def __init__(
        self, mode: Mode, questions: Sequence[str], chains: int, folds: int, seed: int
    ) -> None:
        if not 2 <= folds <= len(questions):
            raise UsageError(
                f"folds must be from 2 to the {len(questions)} questions there are, got {folds}"
            )
        order = list(questions)
        random.Random(seed).shuffle(order)
        self._mode = mode
        self.folds = {question: place % folds for place, question in enumerate(order)}
        """Which fold a question is in."""
        self._live = Counter(dict.fromkeys(questions, chains))
        self._rows: list[tuple[float, str, int, int]] = []
        self.unscored = 0
        """Chunks whose score is not finite: rejected, and no part of the calibration."""
        self._waiting = 0
        self._judges: dict[int, Judge] = {}
        self._round = asyncio.Event()

    @property
    def sample(self) -> Sample:
        """All scores so far."""
        scores, questions, turns, lengths = (
            zip(*self._rows, strict=True) if self._rows else ([],) * 4
        )
        return Sample.of(scores, questions, turns, lengths)

    async def judge(
        self, score: float, *, turn: int, length: int, question: str, u: float
    ) -> Judgement:
        """Once all chains that are left have come to this turn."""
        if isfinite(score):
            self._rows.append((score, question, turn, length))
        else:
            self.unscored += 1
        mine, self._waiting = self._round, self._waiting + 1
        self._open()
        try:
            await mine.wait()
        except asyncio.CancelledError:
            self._waiting -= mine is self._round
            raise
        judge = self._judges[self.folds[question]]
        return judge.judge(score, turn=turn, length=length, question=question, u=u)

    def leave(self, question: str) -> None:
        """One chain of the question is at its end."""
        if self._live[question]:
            self._live[question] -= 1
            self._open()

    def gone(self, question: str) -> None:
        """None of its chains goes on, whatever became of them."""
        if self._live[question]:
            self._live[question] = 0
            self._open()

    def _open(self) -> None:
        """Let all go on if nobody is missing."""
        if self._waiting and self._waiting >= self._live.total():
            sample, waiting = self.sample, self._round
            self._judges = {
                fold: self._mode.fit(
                    sample.of_questions(q for q, other in self.folds.items() if other != fold)
                ).start()
                for fold in set(self.folds.values())
            }
            self._waiting, self._round = 0, asyncio.Event()
            waiting.set()
