"""One attempt at a problem in two phases: thinking within a budget, then the solution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controllers.grammar import Syntax
from controllers.inside import check_chain, reach, written
from controllers.rounds import CALL
from reason.engine import Engine
from reason.run import Controller
from reason.types import Prompt, SamplingParams, Thread, check_attention


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of an attempt."""

    solution: str | None
    """What others get to see of it, without the thinking; None if there is none."""
    answer: str | None
    thread: str
    """Which one has it."""


@dataclass(frozen=True)
class Attempting:
    """The knobs of methods that make attempts."""

    thinking: int = 0
    """Tokens after which the thinking is ended and the solution asked for; 0: when it ends. Of
    attempts by a method, that is the method's own matter."""
    solution_tokens: int = 2048
    """Most tokens of a solution once the thinking was ended; without `thinking`,
    `sampling.max_tokens` bounds both."""
    width: int = 4
    """For models trained on it: first steps that an attempt searches."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=1.0)
    """Given on the command line or in a file, of a method in the attempts, too, but for what it is
    given itself."""
    chain: Controller | None = None
    """What every attempt is; None for one thread. For a grammar in which a method can be told of
    earlier attempts, as it can by tags."""

    parallel: bool = False
    """Earlier attempts are encoded each on its own and read side by side, as by the method ape, and
    not one after another."""
    attention_temperature: float = 1.0
    """T of that; see the method ape."""
    scaling_factor: float = 1.0
    """S of that."""

    def __post_init__(self) -> None:
        check_attention(self.attention_temperature, self.scaling_factor)
        if self.parallel and self.chain:
            raise ValueError("parallel=true is for attempts of one thread: leave chain out")
        for name, least in (("thinking", 0), ("solution_tokens", 1), ("width", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        check_chain(self, self.chain)

    def check_grammar(self, syntax: Syntax) -> None:
        """Raise UsageError for what models of this grammar cannot be asked."""

    async def attempts(
        self,
        engine: Engine,
        syntax: Syntax,
        prompt: Prompt,
        root: Thread,
        workspaces: Sequence[Sequence[str]],
        number: int,
    ) -> tuple[list[Thread], list[Attempt | None]]:
        """Attempts at once, one with each workspace, as the round of that number; joined by the
        root."""
        if self.chain is None:
            calls = [
                engine.spawn(root, self._prompt(syntax, prompt, space)) for space in workspaces
            ]
        else:
            calls = [engine.fork(root) for _ in workspaces]
        problems = {
            call.id: syntax.revisited(prompt, space)
            for call, space in zip(calls, workspaces, strict=True)
            if self.chain
        }

        async def work(call: Thread) -> Attempt:
            if self.chain is None:
                return await self.attempt(engine, syntax, call)
            problem = problems[call.id]
            found = await reach(engine, syntax, call, self.sampling, self.chain, problem)
            last = engine.tree[found.thread]
            return Attempt(
                _solution(engine, syntax, last, written(engine, last)), found.answer, last.id
            )

        for call in calls:
            engine.note(call, CALL, {"round": number, "kind": "attempt"})
        found = await engine.map(work, calls)
        engine.join(root, calls)
        return calls, found

    def _prompt(self, syntax: Syntax, prompt: Prompt, space: Sequence[str]) -> Prompt:
        if not (self.parallel and space):
            return syntax.attempt(prompt, space, self.width)
        return replace(
            syntax.beside(prompt, list(dict.fromkeys(space)), self.width),
            parallel=True,
            temperature=self.attention_temperature,
            scale=self.scaling_factor,
        )

    async def attempt(
        self, engine: Engine, syntax: Syntax, call: Thread, most: int | None = None
    ) -> Attempt:
        """Think, then write a solution of `most` tokens, or as many as a solution may have."""
        start = call.length
        most = most or self.solution_tokens
        if not self.thinking:
            await engine.generate(call, self.sampling)
        else:
            stop = (*self.sampling.stop, *syntax.thought_ends)
            thinking = self.sampling.but(max_tokens=self.thinking, stop=stop)
            turn = await engine.generate(call, thinking)
            if turn.finish == "length":
                engine.append(call, syntax.conclusion(engine.excerpt(call, 0).text))
            if turn.finish == "length" or turn.stopped_at in syntax.thought_ends:
                await engine.generate(call, self.sampling.but(max_tokens=most))
        text = engine.excerpt(call, start).text
        return Attempt(_solution(engine, syntax, call, text), syntax.answer(text), call.id)


def _solution(engine: Engine, syntax: Syntax, thread: Thread, text: str) -> str | None:
    """What is to be seen of a thread that wrote `text`: nothing while it is still thinking, also
    where its thought was begun by the prompt."""
    thinking = syntax.thinking(engine.excerpt(thread, 0).text)
    return None if thinking else syntax.solution(text)
