"""A user's words, or a chat, as a question for a model, with what checks the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controllers.methods import fitted, method_named
from controllers.syntax import syntax_of
from eval.scorers import likelihood, rewards, scorers_of
from eval.tasks import countdown_item, parse_countdown, refusal
from reason.backends.base import Backend, Info
from reason.errors import UsageError
from reason.keys import CONTROLLER
from reason.question import Question, Turn
from reason.settings import command_of, method_of
from reason.types import Message


@dataclass(frozen=True)
class Chosen:
    """Keys of a request that names its method and nothing of a command."""

    controller: str = CONTROLLER


def prepared(
    said: str | Sequence[Message],
    tables: Mapping[str, Any],
    models: Mapping[str, Backend],
    command: type[Any] = Chosen,
) -> Turn:
    """What is run for these words and settings, of which `command` takes some for itself; see
    `Prepare`."""
    tables = dict(tables)
    chosen = command_of(command, tables)
    method, budget = method_of(command, tables, method_named(chosen.controller), method_named)
    info = models["policy"].info
    question = question_of(said, info, models)
    method = fitted(method, tables, info, question.scorers)
    syntax = syntax_of(getattr(method, "syntax", info.grammar or "tags"))
    return Turn(question, method, budget, syntax.answer, syntax.asides)


def question_of(
    said: str | Sequence[Message], info: Info, models: Mapping[str, Backend] | None = None
) -> Question:
    """The problem in the words that the model's grammar expects; of a chat, such a model reads the
    last message only. Reward models among `models` can rate its answers. Raises UsageError for one
    that the model was not trained to read."""
    text = said if isinstance(said, str) else said[-1]["content"]
    problem = parse_countdown(text)
    if problem and (info.grammar or isinstance(said, str)):
        item = countdown_item(problem, info.grammar)
        return Question(item.title, item.prompt, item.fault, item.show, scorers_of(item, models))
    if info.grammar == "countdown":
        raise UsageError(refusal(text))
    prompt = text if info.grammar else said
    return Question(text, prompt, scorers={"likelihood": likelihood, **rewards(said, models or {})})
