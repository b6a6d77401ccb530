"""Runs on record, served again: any method over the answers of an earlier evaluation."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from eval.trees import Tree
from reason.backends.base import Info
from reason.backends.recorded import answers
from reason.backends.replay import Codec, Recorded, ReplayBackend
from reason.engine import Scorer
from reason.types import Thread


@dataclass
class Recording:
    """The answers of an evaluation by problem, repeat and role of the model."""

    codecs: Mapping[str, Codec]
    """By role."""
    infos: Mapping[str, Info]
    found: dict[str, dict[int, list[tuple[str, Recorded]]]] = field(default_factory=dict)
    rewards: dict[str, dict[str, float]] = field(default_factory=dict)
    """By problem and text of the answer."""

    def add(self, tree: Tree) -> bool:
        """Take in a recorded run; whether all of its tokens have a log-probability."""
        given = list(answers(tree.events))
        self.found.setdefault(tree.id, {})[tree.repeat] = given
        return all(len(answer.logprobs) == len(answer.ids) for _, answer in given)

    def models(self) -> dict[str, ReplayBackend]:
        """What was recorded, by role, with no answer to give."""
        return {role: ReplayBackend([], self.codecs[role], self.infos[role]) for role in self.infos}

    def backends(self, problem: str, repeat: int) -> dict[str, ReplayBackend]:
        """Models for one run: the answers to the problem that were given in that repeat, then
        those of the others, which repeat goes first being drawn by lot."""
        runs = self.found.get(problem, {})
        others = sorted(runs.keys() - {repeat})
        random.Random(f"{problem}/{repeat}").shuffle(others)
        order = [number for number in (repeat, *others) if number in runs]
        given = [answer for number in order for answer in runs[number]]
        return {
            role: ReplayBackend(
                (answer for of_role, answer in given if of_role == role),
                self.codecs[role],
                self.infos[role],
            )
            for role in self.infos
        }

    def scorers(self, problem: str) -> dict[str, Scorer]:
        """`recorded`: the reward that was recorded with an answer."""
        rewards = self.rewards.get(problem)
        if not rewards:
            return {}

        def recorded(thread: Thread, answer: str | None) -> float:
            return rewards.get(thread.text, -inf)  # one that was cut short has none

        return {"recorded": recorded}
