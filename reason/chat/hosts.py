"""Where the turns of a chat run: on models in this process, or as a recording that is played."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reason.account import UNFINISHED, Ending, account, split_ending
from reason.ask import ending_of
from reason.backends.base import Backend
from reason.backends.connect import Say, connect
from reason.chat.steer import PlayedSteer
from reason.errors import UsageError
from reason.events import Event
from reason.journal import Sink
from reason.keys import Ask
from reason.ledger import Budget, Ledger
from reason.live import play
from reason.question import Prepare
from reason.record import read
from reason.replay import replayed
from reason.run import Trajectory, described, solve, titled
from reason.steer import LocalSteer, Steer
from reason.tree import ThreadTree
from reason.types import Message


def usual_of(grammar: str) -> Mapping[str, Any]:
    """Settings of a turn for which no method was named, on a model of that grammar: a general one
    is asked what was said, and nothing is added."""
    return (
        {"controller": Ask.controller} if grammar else {"controller": "single", "syntax": "plain"}
    )


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it cost."""

    ending: Ending
    figures: Mapping[str, Any]
    """As `reason.account.account` has them."""


@dataclass(frozen=True)
class Job:
    """A run that can be begun: what it is called, how it is steered, and its work, which tells
    every event to one sink."""

    title: str
    method: str
    model: str
    header: Mapping[str, Any]
    """Of its recording."""
    steer: Steer
    work: Callable[[Sink], Awaitable[Outcome]]
    more: Callable[[], Awaitable[None]] | None = None
    """Waits for what was branched off after its end."""
    account: Callable[[], Mapping[str, Any]] | None = None
    """After that."""
    grammar: str = ""
    """Of its model, as `Host` has it."""
    budget: Budget = field(default_factory=Budget)
    recorded: bool = False
    """Only played back: nothing of it can be changed."""


class Host(Protocol):
    """Who runs the turns."""

    model: str
    grammar: str
    """That the model was trained on; empty for a general one."""
    usual: Mapping[str, Any]
    """Settings of a turn for which no method was named."""
    notes: tuple[str, ...]
    """What its connection warned of."""

    def job(self, messages: Sequence[Message], settings: Mapping[str, Any], seed: int) -> Job:
        """A run on these messages. Raises UsageError for what cannot be."""
        ...

    async def close(self) -> None:
        """Let go of the models."""
        ...


class LocalHost:
    """Models in this process, by their roles, and what makes a turn of words and settings."""

    def __init__(
        self, prepare: Prepare, models: Mapping[str, Backend], notes: Sequence[str] = ()
    ) -> None:
        self._prepare, self._models = prepare, dict(models)
        info = models["policy"].info
        self.model, self.grammar = Path(info.model).name, info.grammar
        self.usual = usual_of(info.grammar)
        self.notes = tuple(notes)

    def job(self, messages: Sequence[Message], settings: Mapping[str, Any], seed: int) -> Job:
        turn = self._prepare(messages, settings, self._models)
        question, controller = turn.question, turn.controller
        steer = LocalSteer(controller, turn.answer)
        run: Trajectory | None = None

        def outcome() -> Outcome:
            assert run
            ending = ending_of(run, question)
            return Outcome(ending, account(run, ending))

        async def work(sink: Sink) -> Outcome:
            nonlocal run
            run = await solve(
                controller,
                question.prompt,
                self._models,
                budget=turn.budget,
                sinks=[sink],
                scorers=question.scorers,
                seed=seed,
                steer=steer,
            )
            if isinstance(run.failure, UsageError):  # a mistake in the request, not of the run
                raise run.failure
            return outcome()

        header = {"controller": described(controller), "seed": seed}
        return Job(
            question.title,
            titled(controller),
            self.model,
            header,
            steer,
            work,
            steer.branches_over,
            lambda: outcome().figures,
            self.grammar,
            turn.budget,
        )

    async def close(self) -> None:
        for model in self._models.values():
            await model.close()


def connected(
    spec: str,
    prepare: Prepare,
    others: Mapping[str, str] | None = None,
    say: Say = lambda line: None,
) -> LocalHost:
    """A host of the backend `spec`, and of others by role; may take long, and may be called in a
    thread. Raises UsageError and BackendError, with nothing left open."""
    models: dict[str, Backend] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            for role, of_role in {"policy": spec, **(others or {})}.items():
                models[role] = connect(of_role, say)
        except BaseException:
            _close(models)
            raise
    # A full collection would go through all that was loaded, in which no thread moves.
    gc.freeze()
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    return LocalHost(prepare, models, said)


def _close(models: Mapping[str, Backend]) -> None:
    async def all_of_them() -> None:
        for model in models.values():
            await model.close()

    asyncio.run(all_of_them())


def playing(path: Path, speed: float) -> Job:
    """A recorded run, played back `speed` times as fast as it was; 0 for all of it at once. Raises
    UsageError for a file that is none."""
    header, recorded = read(path)
    return played(header, list(recorded), speed)


def played(header: Mapping[str, Any], recorded: list[Event], speed: float) -> Job:
    """The same of events in memory, the last of which may say how it ended."""
    events, ending = split_ending(recorded)
    title, method, model = (str(header.get(key, "")) for key in ("title", "method", "model"))

    async def work(sink: Sink) -> Outcome:
        tree, ledger = ThreadTree(), Ledger()
        await play(events, (tree.apply, ledger.apply, sink), speed)
        run = replayed(method, title, tree, ledger, ending)
        return Outcome(ending, account(run, ending))

    return Job(title, method, model, header, PlayedSteer(), work, recorded=True)


def cut_short(ending: Ending) -> bool:
    """Whether a recording stops before its run did."""
    return ending == UNFINISHED
