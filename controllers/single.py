"""One chain of thought: what every other method is compared with."""

from dataclasses import dataclass
from typing import ClassVar

from controllers.inside import last_words
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True)
class Single:
    """One thread, no spawning."""

    name: ClassVar[str] = "single"
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.0)

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The root does."""
        return thread is tree.root

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        await engine.generate(root, self.sampling)
        return Result(syntax.answer(last_words(engine, syntax, root)), root.id)
