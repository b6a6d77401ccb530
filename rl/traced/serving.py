"""A trajectory, served once by the method that will run: what it asks is what is trained.

The text is put together here, in tokens, as a model would have written it; then
controllers/threadweaver.py runs on a backend that has nothing else to say. Were its headers, its
joins or its stops any different from what is expected here, it would ask something that nobody
wrote, and the trajectory would be refused.
"""

from dataclasses import dataclass

from controllers.syntax import syntax_of
from controllers.threadweaver import ThreadWeaver
from reason.backends.base import Backend, Info
from reason.backends.pieces import Pieces
from reason.backends.replay import Codec, Recorded, ReplayBackend
from reason.errors import UsageError
from reason.extras import extra
from reason.run import solve
from reason.tree import ThreadTree
from reason.types import Prompt, SamplingParams
from rl.requests import requests_of
from rl.traced.trace import End, Trace
from rl.traced.unusable import Unusable

NO_LIMIT = 1 << 30
SYNTAX = "tags"
TEACHER = "teacher"
"""In the place of a tokenizer's name: that of the teacher, which is the student itself."""


@dataclass(frozen=True)
class Student:
    """Whose tokens examples are made of."""

    name: str
    """Empty where no tokenizer was named: tokens are words, and only text is of use."""
    codec: Codec
    end: int | None = None
    """Its end-of-sequence token."""

    @classmethod
    def of(cls, name: str, teacher: Backend | None = None) -> "Student":
        """By the name of a tokenizer (a folder, or of the Hub), `teacher` for the teacher's own.

        Raises UsageError for a tokenizer that cannot be loaded or has no end-of-sequence token, and
        for a teacher without token ids or with several such ends.
        """
        if not name:
            return cls("", Pieces())
        if name != TEACHER:
            with extra("client"):
                from reason.backends.tokenizer import Tokenizer, load_tokenizer
            found = Tokenizer(load_tokenizer(name), name)
            if found.eos is None:
                raise UsageError(
                    f"the tokenizer of {name} names no end-of-sequence token (eos_token), which "
                    "every example ends with"
                )
            return cls(name, found, found.eos)
        if teacher is None:
            raise UsageError("tokenizer=teacher needs a teacher: give --backend")
        info = teacher.info
        if not info.token_ids:
            raise UsageError(
                f"{info.model} tells no token ids over this interface: give "
                "tokenizer=PATH_OR_HUB_ID"
            )
        if len(info.ends) > 1:
            raise UsageError(
                f"{info.model} ends a sequence with any of the tokens {list(info.ends)}: give "
                "tokenizer=PATH_OR_HUB_ID, whose eos_token is the one to learn"
            )
        return cls(info.tokenizer, teacher, info.ends[0] if info.ends else None)

    @property
    def info(self) -> Info:
        """As a backend would describe it."""
        ends = () if self.end is None else (self.end,)
        return Info(self.name, self.name, NO_LIMIT, NO_LIMIT, "always", ends=ends)


def asked(prompt: Prompt) -> Prompt:
    """The prompt in the words of the method."""
    return syntax_of(SYNTAX).woven(prompt, 0)


def recorded(trace: Trace, prompt: Prompt, student: Student, end: End) -> list[Recorded]:
    """What is written in each request, with the tokens it is written behind. Raises Unusable for
    text that the tokenizer cannot hold.

    Text of one origin is cut into tokens by itself, as a runtime that puts in text and a model that
    stops at a tag leave no other choice.
    """
    encode, form = student.codec.encode, syntax_of(SYNTAX).threads
    context = encode(asked(prompt))
    stop = () if student.end is None else (student.end,)
    answers: list[Recorded] = []

    def write(behind: list[int], text: str, last: bool = False) -> list[int]:
        ids = encode(text)
        if (back := student.codec.decode(ids)) != text:
            at = next((n for n, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), 0)
            raise Unusable(
                "lost in tokens", f"{text[at : at + 40]!r} became {back[at : at + 40]!r}"
            )
        answers.append(Recorded((*ids, *(stop if last else ())), context=tuple(behind)))
        return ids

    *turns, tail = trace.turns(form, end)
    for turn, threads in zip(turns, trace.threads(form), strict=True):
        context += write(context, turn)
        merged: list[int] = []
        for number, thread in enumerate(threads, 1):
            header = form.header.format(number=number)
            ids = write(context + encode(header), thread)
            merged += encode(header if number == 1 else header.removeprefix(form.between)) + ids
        context = (
            context + merged + encode(form.glue + (form.block_end if end == "runtime" else ""))
        )
    write(context, tail, last=True)
    return answers


async def served(trace: Trace, prompt: Prompt, student: Student, end: End) -> ThreadTree:
    """The run in which a model writes this trace. Raises Unusable where the method asks for
    anything that is not in it, or leaves anything unsaid: then training would not match serving."""
    answers = recorded(trace, prompt, student, end)
    threads = [len(block.threads) for block in trace.blocks]
    method = ThreadWeaver(
        blocks=len(threads) + 1,  # as served, a root that may go on with a block
        most=max([2, *threads]),
        end=end,
        syntax=SYNTAX,
        sampling=SamplingParams(max_tokens=NO_LIMIT),
    )
    run = await solve(
        method, prompt, {"policy": ReplayBackend(answers, student.codec, student.info)}
    )
    wrote = sorted((answer.context, answer.ids) for answer in answers)
    sent = sorted((tuple(r.context), tuple(r.sampled)) for r in requests_of(run.tree))
    if run.error or sent != wrote:
        same = len({*sent} & {*wrote})
        why = run.error or f"{same} of {len(wrote)} requests are as they were written"
        raise Unusable("not as served", why)
    return run.tree
