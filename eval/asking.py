"""A user's words as a question that a model can be asked, with what checks the answer."""

from collections.abc import Mapping

from eval.scorers import likelihood, rewards, scorers_of
from eval.tasks import countdown_item, parse_countdown, refusal
from reason.ask import Question
from reason.backends.base import Backend, Info
from reason.errors import UsageError


def question_of(text: str, info: Info, models: Mapping[str, Backend] | None = None) -> Question:
    """The problem in the words that the model's grammar expects; reward models among `models` can
    rate its answers. Raises UsageError for one that the model was not trained to read."""
    problem = parse_countdown(text)
    if problem:
        item = countdown_item(problem, info.grammar)
        return Question(item.title, item.prompt, item.fault, item.show, scorers_of(item, models))
    if info.grammar == "countdown":
        raise UsageError(refusal(text))
    return Question(text, text, scorers={"likelihood": likelihood, **rewards(text, models or {})})
