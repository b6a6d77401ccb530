"""What becomes of a hint, and of the thread that goes on with it."""

from reason.chat.run import Run, figures_in_words
from reason.chat.texts import shown


def misread(run: Run, thread: str, hint: str) -> str:
    """A warning where the model read something else than the hint of that thread: a small model
    knows the words of its grammar only. Nothing where it read the hint, and where only a server
    knows what was read."""
    decode = run.steer.decode(thread)
    if decode is None:
        return ""
    pieces = run.texts.scripts[thread].pieces
    read = decode([each for p in pieces if p.origin == "injected" for each in p.ids])
    if "".join(read.split()) == "".join(hint.split()):
        return ""
    return f"this hint has words that the model does not know: what it read is “{shown(read)}”"


async def carried_on(run: Run, thread: str) -> str:
    """How a thread ended that was forked from an ended turn, and the account with it."""
    await run.idle()
    line = run.watch.lines[thread]
    said = (
        f"thread {thread} {run.timeline.state(line)}, {line.tokens:,} tokens: {line.tail.strip()}"
    )
    return "\n".join(filter(None, (said, run.problem, figures_in_words(run.figures))))
