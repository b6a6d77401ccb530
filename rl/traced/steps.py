"""One chain on its way to an example, step by step."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from eval.graders import GRADERS, grade
from reason.answers import boxed, same
from rl.traced import analysis, outlines, rewriting
from rl.traced.analysis import Step
from rl.traced.blocks import Range, blocks_of
from rl.traced.chain import Chain, Paragraphs, paragraphs
from rl.traced.contamination import Evaluations
from rl.traced.example import Example, Figures, example_of
from rl.traced.options import Options
from rl.traced.serving import Student, asked, served
from rl.traced.teacher import Spent, Teacher
from rl.traced.trace import Trace
from rl.traced.unusable import Unusable
from rl.traced.wellformed import Block, read_blocks

T = TypeVar("T")
CONTAMINATED = "asked in an evaluation"
Texts = list[tuple[str, ...] | None]
"""Of each block the texts of its outlines or threads; None where it stays as it was written."""
Values = Mapping[str, Any]
"""What the steps before gave, as the file of steps holds it."""


@dataclass(frozen=True)
class Steps:
    """The five steps of Lian et al. 2025, each a function of the chain and of what came before.

    Each returns what can be written down as JSON, and raises Unusable.
    """

    teacher: Teacher
    student: Student
    options: Options
    evaluations: Evaluations

    async def chain(self, chain: Chain, before: Values, spent: Spent) -> None:
        """Whether it can be used at all: right, of its own, and free of tags."""
        paragraphs(chain.text)
        if chain.answer is not None:
            grader = GRADERS[self.options.grader]
            fault = await asyncio.to_thread(grade, grader, boxed(chain.text), chain.answer)
            if fault is not None:
                raise Unusable("wrong answer", fault)
        if name := self.evaluations.overlap(chain.problem, chain.text):
            raise Unusable(CONTAMINATED, name)

    async def analysis(self, chain: Chain, before: Values, spent: Spent) -> list[Step]:
        """The steps, and what each of them uses."""
        parts = paragraphs(chain.text).parts
        return await self.teacher.ask(
            analysis.question(chain.problem, parts),
            lambda answer: analysis.read_steps(answer, len(parts)),
            f"{chain.id}/analysis",
            spent,
        )

    async def outlines(self, chain: Chain, before: Values, spent: Spent) -> Texts:
        """What the threads of each block will do."""
        cut = self.cut(chain, before)

        async def of(number: int, block: "_Cut") -> tuple[str, ...]:
            known = f"{chain.problem}\n{block.before}"
            return await self.teacher.ask(
                outlines.question(chain.problem, block.before, block.threads),
                lambda answer: outlines.read_outlines(answer, len(block.threads), known),
                f"{chain.id}/outlines/{number}",
                spent,
            )

        return await self._each([of(number, block) for number, block in enumerate(cut)])

    async def rewriting(self, chain: Chain, before: Values, spent: Spent) -> Texts:
        """The threads of each block, standing alone."""

        async def thread_of(number: int, block: "_Cut", at: int) -> str:
            thread = block.threads[at]
            if not at:  # nothing stands before it but what all threads see
                return thread
            outline = before["outlines"][number][at]
            return await self.teacher.ask(
                rewriting.question(block.before, outline, thread, block.threads[:at]),
                lambda answer: rewriting.rewritten(answer, thread, self.options.similarity),
                f"{chain.id}/rewriting/{number}/{at}",
                spent,
            )

        async def of(number: int, block: "_Cut") -> tuple[str, ...]:
            if before["outlines"][number] is None:
                raise Unusable("no outlines")
            threads = range(len(block.threads))
            return tuple(await _all([thread_of(number, block, at) for at in threads]))

        cut = self.cut(chain, before)
        return await self._each([of(number, block) for number, block in enumerate(cut)])

    async def filter(
        self, chain: Chain, before: Values, spent: Spent, keep: Callable[[Example], object]
    ) -> Figures:
        """The example, if it is what a served model could have written and within all limits."""
        trace = self.trace(chain, before)
        if not trace.blocks and not drawn(chain.id, self.options.sequential):
            raise Unusable("without a block", f"not among the share {self.options.sequential:g}")
        tree = await served(trace, chain.prompt, self.student, self.options.end)
        text = tree.root.text
        if tuple(read_blocks(text)) != trace.blocks:
            raise Unusable("malformed", "the blocks are not read as they were written")
        answer = boxed(chain.text)
        if answer is not None and not same(boxed(trace.texts[-1]), answer):
            raise Unusable("no answer at the end", f"{answer!r} stands in a thread")
        if name := self.evaluations.overlap(chain.problem, text):
            raise Unusable(CONTAMINATED, name)
        example = example_of(chain.id, asked(chain.prompt), tree, self.student.name)
        check_limits(example.figures, self.options)
        keep(example)
        return example.figures

    def cut(self, chain: Chain, before: Values) -> list["_Cut"]:
        """The blocks that the steps make; none of a chain that has no independent steps."""
        parts = paragraphs(chain.text)
        steps = msgspec.convert(before["analysis"], list[Step])
        lengths = [sum(map(len, parts.parts[one.first : one.last + 1])) for one in steps]
        found = blocks_of(steps, lengths, self.options.worth)
        return [_Cut.of(parts, steps, threads) for threads in found]

    def trace(self, chain: Chain, before: Values) -> Trace:
        """The chain with its blocks."""
        cut = self.cut(chain, before)
        if not cut:
            return Trace((chain.text,))
        found = zip(cut, before["outlines"], before["rewriting"], strict=True)
        made = [(at, Block(tuple(one), tuple(two))) for at, one, two in found if two is not None]
        parts = paragraphs(chain.text)
        edges = [0, *(end for at, _ in made for end in (at.first, at.end)), len(parts.parts)]
        texts = ["".join(parts.parts[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        texts[0], texts[-1] = parts.head + texts[0], texts[-1] + parts.tail
        return Trace(tuple(texts), tuple(block for _, block in made))

    async def _each(self, work: Sequence[Awaitable[tuple[str, ...]]]) -> Texts:
        """Of every block what it became; None for one that is left as it was. Raises Unusable
        where none is left to be done, or none may be left out."""
        if self.options.block_fails == "drop":
            return [*await _all(work)]

        errors: dict[int, Unusable] = {}

        async def done(number: int, one: Awaitable[tuple[str, ...]]) -> tuple[str, ...] | None:
            try:
                return await one
            except Unusable as error:
                errors[number] = error
                return None

        found = await _all([done(number, one) for number, one in enumerate(work)])
        if len(errors) == len(found):
            raise errors[0]
        return found


@dataclass(frozen=True)
class _Cut:
    """A block as it stands in the chain: its paragraphs from `first` up to `end`, what is written
    before, and its threads."""

    first: int
    end: int
    before: str
    threads: tuple[str, ...]

    @classmethod
    def of(cls, parts: Paragraphs, steps: Sequence[Step], threads: Sequence[Range]) -> "_Cut":
        spans = [(steps[a].first, steps[b - 1].last + 1) for a, b in threads]
        first, end = spans[0][0], spans[-1][1]
        texts = tuple("".join(parts.parts[a:b]).strip() for a, b in spans)
        return cls(first, end, parts.head + "".join(parts.parts[:first]), texts)


def check_limits(figures: Figures, options: Options) -> None:
    """Raise Unusable for a run that is too long, or has blocks and gains too little by them."""
    if figures.longest > options.longest:
        raise Unusable("too long", f"{figures.longest:,} of at most {options.longest:,} tokens")
    if figures.blocks and figures.acceleration < options.acceleration:
        raise Unusable(
            "too little gained",
            f"acceleration {figures.acceleration:.3f}, expected {options.acceleration:g}",
        )


def drawn(id: str, share: float) -> bool:
    """Whether an item is among a share of all, which depends on its id alone: one that is drawn
    for a share is drawn for every greater one."""
    number = int.from_bytes(blake2b(id.encode(), digest_size=8).digest())
    return number < share * 2**64


async def _all(work: Sequence[Awaitable[T]]) -> list[T]:
    """All results. Of several errors, the first that is not of the text: what failed is done again,
    and what cannot be used never is."""
    done = await asyncio.gather(*work, return_exceptions=True)
    errors = [one for one in done if isinstance(one, BaseException)]
    for error in sorted(errors, key=lambda one: isinstance(one, Unusable)):
        raise error
    return [one for one in done if not isinstance(one, BaseException)]
