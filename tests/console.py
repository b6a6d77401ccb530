"""The command line in this process: as a user types it, and on the oracle."""

import asyncio
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.testing import CliRunner, Result

from controllers.syntax import syntax_of
from eval.countdown import Problem
from eval.scorers import scorers_of
from eval.tasks import countdown_item
from reason.ask import ask
from reason.backends.scripted import ScriptedBackend
from reason.cli import app
from reason.ledger import Budget
from reason.output import Output
from reason.question import Question, Turn
from reason.replay import replay
from reason.run import Controller
from rl.model import export, new_model
from rl.recipe import Shape
from tests.oracle import oracle

ITEM = countdown_item(Problem((3, 5, 7, 8), 24), "countdown")
QUESTION = Question(ITEM.title, ITEM.prompt, ITEM.fault, ITEM.show, scorers_of(ITEM))
SHORT = "sampling.max_tokens=12"
_FOLDER = tempfile.TemporaryDirectory(prefix="reason-")


@cache
def tiny() -> str:
    """A Countdown model with random weights, as a value of --backend."""
    shape = Shape(hidden=64, layers=1, intermediate=64, head=32, context=256)
    export(new_model(shape, 0), Path(_FOLDER.name))
    return f"hf:{_FOLDER.name}"


def reason(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False, **options)


def asked(controller: Controller, **options: Any) -> tuple[int, str]:
    """What `reason ask` does once everything is built, on the oracle; exit code and output."""
    console = Console(file=io.StringIO(), width=120, **options.pop("console", {}))
    output = Output(console, options.pop("json", False), options.pop("svg", None))
    backend: ScriptedBackend = options.pop("backend", None) or oracle()
    budget = options.pop("budget", Budget())
    turn = Turn(QUESTION, controller, budget, syntax_of("countdown").answer)
    work = ask(turn, {"policy": backend}, output, seed=0, **options)
    code = asyncio.run(work)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def replayed(path: Path, speed: float = 0, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=120, **options.pop("console", {}))
    output = Output(console, options.pop("json", False), options.pop("svg", None))
    asyncio.run(replay(path, output, speed))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
