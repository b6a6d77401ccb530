"""Budget forcing: a chain of thought is made as long as it may, or has to, be.

Muennighoff et al., "s1: Simple test-time scaling", 2025, section 3.1. A chain that ends before it
has thought for `at_least` tokens has its end cut off and is sent on with a word; one that reaches
`at_most` is made to answer with what it has.
"""

from dataclasses import dataclass
from typing import ClassVar

from controllers.grammar import Syntax
from controllers.syntax import syntax_of
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, SamplingParams, Thread


@dataclass(frozen=True)
class BudgetForcing:
    """Thinking is what a chain samples until its thought ends, less what was cut off; the critical
    path counts that, too. A chain that thinks without marks is thought to its last token."""

    name: ClassVar[str] = "budget_forcing"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    at_least: int = 0
    """Tokens of thinking before a chain may end; 0 lets it end when it wants to."""
    at_most: int = 4096
    """Tokens of thinking after which it has to answer; `sampling.max_tokens`, if that is lower."""
    waits: int = 2
    """Most times that it is sent on."""
    answer_tokens: int = 512
    """Most tokens of the answer after the thinking."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.0)

    def __post_init__(self) -> None:
        for name, least in (("at_least", 0), ("at_most", 1), ("waits", 0), ("answer_tokens", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.at_least > self.at_most:
            raise ValueError(
                f"at_least must be at_most={self.at_most} or less, got {self.at_least}"
            )

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The chain does, unless its end may be cut off again."""
        return tree.trunk(thread) and not (self.at_least and self.waits)

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        root = engine.open(syntax.serial(prompt, self.width))
        last, said = await self._think(engine, syntax, root, 0, 0, root.length)
        return Result(syntax.answer(engine.excerpt(last, said).text), last.id)

    async def _think(
        self,
        engine: Engine,
        syntax: Syntax,
        thread: Thread,
        thought: int,
        waited: int,
        first: int,
    ) -> tuple[Thread, int]:
        """Write to the end; the thread that ends it, and at which of its tokens the answer begins:
        of one that thinks without marks, `first`, where all of it does.

        `thought` is how many tokens of thinking precede it.
        """
        begun = thread.length
        most = min(self.at_most, self.sampling.max_tokens)
        stops = dict.fromkeys((*syntax.thought_ends, *self.sampling.stop))
        asked = self.sampling.but(max_tokens=most - thought, stop=tuple(stops))
        turn = await engine.generate(thread, asked)
        if turn.finish == "length":
            engine.note(thread, "made to answer", {"thinking": thought + len(turn.ids)})
            said = thread.length
            engine.append(thread, syntax.conclusion(engine.excerpt(thread, 0).text))
            await self._answer(engine, thread)
            return thread, said

        end = len(turn.text)
        if turn.stopped_at in syntax.thought_ends:
            end = turn.text.rindex(turn.stopped_at)
        kept = min(engine.locate(thread, end), engine.unended(thread))
        thought += kept - begun
        more = syntax.more(engine.excerpt(thread, 0, kept).text)
        if more and thought < min(self.at_least, most) and waited < self.waits:
            engine.note(thread, "sent on", {"thinking": thought})
            after = engine.fork(thread, kept, continues=True)
            engine.append(after, more)
            try:
                return await self._think(engine, syntax, after, thought, waited + 1, first)
            finally:
                engine.join(thread, [after])
        if turn.stopped_at not in syntax.thought_ends:
            return thread, first
        await self._answer(engine, thread)
        return thread, kept

    async def _answer(self, engine: Engine, thread: Thread) -> None:
        await engine.generate(thread, self.sampling.but(max_tokens=self.answer_tokens))
