"""ThreadWeaver: outline the parts, write them in parallel threads, go on in the joined text.

Lian et al., "ThreadWeaver: Adaptive Threading for Efficient Parallel Reasoning in Language Models",
2025 (arXiv 2512.07843), section 3. A thread is a fork: it sees what comes before the block and the
outlines, but no sibling. What threads wrote is spliced back token by token, so that any engine
reads the joined text as if one thread had written it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from controllers.grammar import ThreadFormat
from controllers.syntax import syntax_of
from controllers.weave_grammar import outlining, threading
from reason.engine import Engine
from reason.tree import ThreadTree
from reason.types import Prompt, Result, SamplingParams, Segment, Thread


@dataclass(frozen=True)
class ThreadWeaver:
    """What is not well-formed is data: a number that comes twice is one thread, a thread that does
    not close itself is closed, and notes in the tree say so."""

    name: ClassVar[str] = "threadweaver"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    width: int | None = None
    """Outlines to a block that the model is asked for; 0 leaves it to the model, none is as many as
    suit the models of the grammar."""
    blocks: int = 8
    """Most parallel blocks; then the model writes threads itself, one after another."""
    most: int = 32
    """Most threads of a block; outlines beyond are left out."""
    unclosed: Literal["continue", "stop"] = "continue"
    """What follows a thread that did not close itself: going on with what it wrote, or, as in the
    released code, the end of the answer."""
    end: Literal["model", "runtime"] = "model"
    """Who writes the end of the block: the model, as in the released code and its data, or, as
    the paper says, the runtime."""
    enforce: bool = False
    """Whether a grammar (EBNF, where the backend has them) makes malformed blocks impossible."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.6, top_p=0.95)
    thread_sampling: SamplingParams | None = None
    """Sampling of the threads; None for the same."""

    def __post_init__(self) -> None:
        for name, least in (("width", 0), ("blocks", 0), ("most", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The root does, around its blocks."""
        return thread is tree.root

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        form = syntax.threads
        width = form.width if self.width is None else self.width
        root = engine.open(syntax.woven(prompt, width))
        turn = await self._turn(engine, form, root, 0)
        for block in range(1, self.blocks + 1):
            if turn.stopped_at != form.outlines_end:
                break
            if not await self._block(engine, form, root, turn):
                break
            turn = await self._turn(engine, form, root, block)
        return Result(syntax.answer(turn.text), root.id)

    async def _turn(self, engine: Engine, form: ThreadFormat, root: Thread, block: int) -> Segment:
        """What the root writes by itself, up to the end of its outlines."""
        sampling = self.sampling
        if block < self.blocks:
            sampling = sampling.but(stop=(*sampling.stop, form.outlines_end))
        if self.enforce:
            ended = block > 0 and self.end == "model"
            most = self.most if block < self.blocks else 0  # nobody would write the threads
            sampling = sampling.but(grammar=outlining(form, most, ended))
        return await engine.generate(root, sampling)

    async def _block(self, engine: Engine, form: ThreadFormat, root: Thread, turn: Segment) -> bool:
        """Run the threads of the outlines that the root ends with, and splice them into it; whether
        it goes on."""
        outlines = form.read(turn.text)
        numbers = list(dict.fromkeys(number for number, _ in outlines))[: self.most]
        if not numbers or len(numbers) < len(outlines):
            engine.note(root, "outlines", {"read": len(outlines), "threads": len(numbers)})
        sampling = self.thread_sampling or self.sampling
        sampling = sampling.but(stop=(*sampling.stop, form.thread_end))
        if self.enforce:
            sampling = sampling.but(grammar=threading(form))

        children = []
        for number in numbers:
            child = engine.fork(root)
            engine.append(child, form.header.format(number=number))
            children.append(child)
        starts = [child.length for child in children]
        await engine.map(lambda child: engine.generate(child, sampling), children)
        engine.join(root, children)

        whole = True
        for number, child, start in zip(numbers, children, starts, strict=True):
            header = form.header.format(number=number)
            engine.append(
                root, header if child is children[0] else header.removeprefix(form.between)
            )
            if child.length > start:
                engine.append(root, [engine.excerpt(child, start, engine.unended(child))])
            if child.segments[-1].stopped_at != form.thread_end:
                engine.note(child, "unclosed", child.finish)
                engine.append(root, form.unclosed)
                whole = False
        ends = form.glue + (form.block_end if self.end == "runtime" else "")
        if numbers and ends:
            engine.append(root, ends)
        return whole or self.unclosed == "continue"
