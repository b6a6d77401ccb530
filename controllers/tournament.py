"""A knockout: chains meet in pairs, the model says which of two is better, winners go on.

Chen et al., "A Simple and Provable Scaling Law for the Test-Time Compute of Large Language
Models", 2024, section 3: with `n` chains and `k` comparisons to a match, the chance of a wrong
outcome falls exponentially in both, where a model is right more often than not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from controllers.forks import as_many, forks
from controllers.grammar import Syntax
from controllers.syntax import syntax_of
from reason.answers import same
from reason.engine import Engine
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True, slots=True)
class Player:
    """A chain in the tournament."""

    place: int
    thread: Thread
    answer: str
    shown: str
    """What a judge gets to see of it."""
    score: float


Match = tuple[Player, Player]


@dataclass(frozen=True)
class Tournament:
    """Chains without an answer do not take part. All matches of a round take place at once; one of
    two with the same answer goes on without a match, and a chain without a partner does, too. A
    match that is a draw goes to the earlier chain."""

    name: ClassVar[str] = "tournament"
    n: int = 8
    """Chains."""
    k: int = 2
    """Comparisons to a match; in every other one the two change places, since models favour one."""
    scorer: str = "likelihood"
    """What decides a match where the models of a grammar cannot compare solutions, as those of
    Countdown cannot."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.7)
    judge_sampling: SamplingParams | None = None
    """Sampling of the comparisons; None for the same."""

    @property
    def needs(self) -> tuple[str, ...]:
        judged = syntax_of(self.syntax).judge("", "", "") is not None
        return () if judged or self.scorer != "likelihood" else ("token_ids",)

    def __post_init__(self) -> None:
        for name in ("n", "k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        judged = syntax.judge(prompt, "", "") is not None
        root = engine.open(syntax.serial(prompt, self.width))
        chains = forks(engine, root, self.n)

        async def write(chain: Thread) -> Player | None:
            text = (await engine.generate(chain, self.sampling)).text
            answer = syntax.answer(text)
            if answer is None:
                return None
            score = 0.0
            if not judged:
                score = await engine.rate(chain, answer, self.scorer)
                engine.note(chain, "score", score)
            shown = syntax.solution(text) or answer
            return Player(chains.index(chain), chain, answer, shown, score)

        players = [player for player in await engine.map(write, chains) if player]
        engine.join(root, chains)
        while len(players) > 1:
            matches = list(zip(players[::2], players[1::2], strict=False))
            # In front of the winners, so that the same chain does not rest twice.
            resting = players[len(matches) * 2 :]
            open_ones = [match for match in matches if not same(match[0].answer, match[1].answer)]
            if judged:
                points = await self._compare(engine, syntax, root, prompt, open_ones)
            else:
                points = [(a.score, b.score) for a, b in open_ones]
            for (a, b), (of_a, of_b) in zip(open_ones, points, strict=True):
                met = {"between": [a.thread.id, b.thread.id], "points": [of_a, of_b]}
                engine.note(root, "match", met)
            results = dict(zip(open_ones, points, strict=True))
            players = [*resting, *(_winner(match, results.get(match)) for match in matches)]
        if not players:
            return Result(None, chains[0].id)
        return Result(players[0].answer, players[0].thread.id)

    async def _compare(
        self,
        engine: Engine,
        syntax: Syntax,
        root: Thread,
        prompt: Prompt,
        matches: Sequence[Match],
    ) -> list[tuple[float, float]]:
        """How many of its comparisons each of the two won, of every match."""
        sampling = self.judge_sampling or self.sampling
        swapped = [bool(turn % 2) for _ in matches for turn in range(self.k)]

        def opened() -> Iterator[Thread]:
            for place, second_first in enumerate(swapped):
                a, b = matches[place // self.k]
                first, second = (b, a) if second_first else (a, b)
                asked = syntax.judge(prompt, first.shown, second.shown)
                assert asked is not None
                yield engine.spawn(root, asked)

        judges = as_many(opened(), least=0)

        async def decide(judge: Thread) -> int | None:
            return syntax.verdict((await engine.generate(judge, sampling)).text)

        verdicts = await engine.map(decide, judges)
        verdicts += [None] * (len(swapped) - len(judges))  # for which there was no room
        engine.join(root, judges)
        # As if nobody had changed places: 0 for the first of a match.
        said = [v if v is None else v ^ s for v, s in zip(verdicts, swapped, strict=True)]
        rows = [said[at : at + self.k] for at in range(0, len(said), self.k)]
        return [(float(row.count(0)), float(row.count(1))) for row in rows]


def _winner(match: Match, points: tuple[float, float] | None) -> Player:
    """The one with more points; without a match, or of equals, the earlier."""
    a, b = match
    if points is None or points[0] == points[1]:
        return min(match, key=lambda player: player.place)
    return a if points[0] > points[1] else b
