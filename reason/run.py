"""Run one method on one prompt. Terminal, sweeps, server and trainers all call `solve`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, get_args

from reason.backends.base import Backend, Info
from reason.engine import Engine, Scorer, Sink
from reason.errors import BudgetExceeded, ReasonError, UsageError, finish_of
from reason.ledger import Budget, Ledger
from reason.tree import ThreadTree
from reason.types import Finish, Prompt, Result, Thread


class Controller(Protocol):
    """A method: a frozen dataclass whose fields are its knobs and whose call is the algorithm.

    One that not every model can serve has `needs`, too: see `check_needs`; one that needs more than
    that has `admit`: see `check_run`; one whose answer can be read while it is written, `speaks`:
    see `speaking`. A field may be a method itself, which is called with `engine.below(thread)`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    """What users call it."""

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result: ...


def within(controller: Controller) -> dict[str, Controller]:
    """The methods directly inside a method, by the field that holds each."""
    found: dict[str, Controller] = {}
    for name in controller.__dataclass_fields__:
        value: Any = getattr(controller, name)
        if hasattr(value, "__dataclass_fields__") and callable(value):
            found[name] = value
    return found


def nested(controller: Controller, at: str = "") -> Iterator[tuple[str, Controller]]:
    """A method and all inside it, each with its dotted place: "", "chain.", "chain.chain."."""
    yield at, controller
    for name, inner in within(controller).items():
        yield from nested(inner, f"{at}{name}.")


def titled(controller: Controller) -> str:
    """What users call a method and those inside it: "self_consistency over apr"."""
    return " over ".join(each.name for _, each in nested(controller))


def described(controller: Controller) -> dict[str, Any]:
    """Name and knobs of a method, and of those inside it; one that could be there and is not goes
    unmentioned."""
    inner = {name: described(each) for name, each in within(controller).items()}
    fields = controller.__dataclass_fields__
    held = {name for name in fields if Controller in get_args(fields[name].type)}
    knobs = {name: value for name, value in asdict(controller).items() if name not in held}
    return {"name": controller.name, **knobs, **inner}


WORDS = {"token_ids": "token ids and log-probabilities", "scores": "scores of given texts"}


def check_needs(controller: Controller, info: Info) -> None:
    """Raise UsageError if the method, or one inside it, needs what the model does not give.

    `needs`, of a method that has it, names the fields of Info that must be true of the policy.
    """
    for at, each in nested(controller):
        missing = [WORDS[need] for need in getattr(each, "needs", ()) if not getattr(info, need)]
        if missing:
            place = f" (the {at.removesuffix('.')} of {controller.name})" if at else ""
            raise UsageError(
                f"{each.name}{place} as it is set needs {' and '.join(missing)} of the model, "
                f"which {info.model} does not give over this interface; single, self_consistency "
                "and best_of_n with a verifier need none"
            )


def check_run(
    controller: Controller,
    models: Mapping[str, Info] | None = None,
    prompt: Prompt | None = None,
) -> None:
    """Raise UsageError for what the method, or one inside it, lacks: whatever the models, or with
    these by role, or for this prompt. Before anything is paid for.

    `admit(models, prompt)`, of a method that has it, raises it.
    """
    if models and "policy" in models:
        check_needs(controller, models["policy"])
    for at, each in nested(controller):
        try:
            if hasattr(each, "admit"):
                each.admit(models, prompt)
        except UsageError as error:
            raise UsageError(f"{at.removesuffix('.')}: {error}" if at else str(error)) from error


def speaking(controller: Controller, tree: ThreadTree, thread: Thread) -> bool:
    """Whether what the thread writes now is the answer of the run, as far as can be told before the
    end: of methods that have `speaks(tree, thread)`, what that says."""
    return hasattr(controller, "speaks") and bool(controller.speaks(tree, thread))


WARNING = "warning"
"""The note of a method that says why its result may not be what it was made for."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Everything one run leaves behind."""

    controller: dict[str, Any]
    prompt: Prompt
    tree: ThreadTree
    ledger: Ledger
    result: Result | None = None
    error: str | None = None
    """Why there is no result."""
    failure: ReasonError | None = None
    """The error that says so, of a run that took place here."""
    limit: str | None = None
    """The first limit of the budget that was hit, even where the method still found a result."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the method, or one inside it, warns of; each once."""
        return tuple(dict.fromkeys(n.value for n in self.tree.notes if n.name == WARNING))

    def account(self) -> dict[str, Any]:
        """The run in figures, as ledger and tree count them; JSON-able."""
        ledger = self.ledger
        return {
            "answer": self.result.answer if self.result else None,
            "thread": self.result.thread if self.result else None,
            "controller": self.controller["name"],
            "critical_path": self.tree.critical_path,
            "total_tokens": ledger.total_tokens,
            "longest_sequence": self.tree.longest_sequence,
            "prompt_tokens": ledger.prompt_tokens,
            "cached_tokens": ledger.cached_tokens,
            "threads": ledger.threads,
            "peak_threads": ledger.peak_threads,
            "seconds": ledger.seconds,
            "ttft": ledger.ttft,
            "limit": self.limit,
            "error": self.error,
        }


async def solve(
    controller: Controller,
    prompt: Prompt,
    backends: Mapping[str, Backend],
    *,
    budget: Budget | None = None,
    sinks: Iterable[Sink] = (),
    scorers: Mapping[str, Scorer] | None = None,
    seed: int | str | None = None,
    steer: Callable[[Engine], object] | None = None,
) -> Trajectory:
    """Run the method to its end, whatever that is; no thread is left open.

    Errors of the project's own become `Trajectory.error`. A cancellation closes every thread and
    goes on up; a bug does too. `steer` is given the engine first, for `cancel`, `extend`, `branch`
    and `pin`; a pinned answer is the result, also of a run that failed or was stopped.
    """
    engine = Engine(backends, budget=budget, sinks=sinks, scorers=scorers, seed=seed)
    if steer:
        steer(engine)
    result, error = None, None
    failure: ReasonError | None = None
    ending: Finish | None = None
    try:
        async with engine.timed() as deadline:
            infos = {role: backend.info for role, backend in backends.items()}
            check_run(controller, infos, prompt)
            result = await controller(engine, prompt)
            await engine.branches.over()
    except TimeoutError:
        ending = "budget" if deadline.expired() else "error"
        if not deadline.expired():
            raise
        failure = engine.exceed("seconds")
        error = str(failure)
    except ReasonError as raised:
        ending, failure, error = finish_of(raised), raised, str(raised)
        if not isinstance(raised, BudgetExceeded):
            error = f"{type(raised).__name__}: {raised}"
    except BaseException as bug:
        ending, error = finish_of(bug), str(bug)
        raise
    finally:
        await engine.branches.stop()
        if len(engine.tree):
            engine.close(engine.tree.root, ending, error or "")
    if engine.branches.pinned:
        result, error, failure = engine.branches.pinned, None, None
    limit = engine.exceeded.limit if engine.exceeded else None
    return Trajectory(
        described(controller), prompt, engine.tree, engine.ledger, result, error, failure, limit
    )
