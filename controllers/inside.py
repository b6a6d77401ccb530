"""What a chain comes to: written by one thread, or by a whole method in its place."""

from dataclasses import fields
from typing import Any

from controllers.grammar import Syntax
from reason.engine import Engine
from reason.run import Controller
from reason.types import Prompt, Result, SamplingParams, Thread

OWN = ("width",)
"""Knobs of chains of one thread, which mean nothing where a method takes their place."""


def check_chain(method: Any, chain: Controller | None) -> None:
    """Raise ValueError for a knob of a dataclass that was set and would do nothing."""
    defaults = {field.name: field.default for field in fields(method)}
    for name in OWN:
        if chain and getattr(method, name) != defaults[name]:
            raise ValueError(
                f"{name} is for chains of one thread, and here each is {chain.name}: give "
                f"chain.{name}, if {chain.name} has it"
            )


async def reach(
    engine: Engine,
    syntax: Syntax,
    chain: Thread,
    sampling: SamplingParams,
    inner: Controller | None,
    prompt: Prompt,
) -> Result:
    """Where a chain ends up: it writes on, or `inner` takes its place with a prompt of its own."""
    if inner is None:
        await engine.generate(chain, sampling)
        return Result(syntax.answer(last_words(engine, syntax, chain)), chain.id)
    try:
        found = await inner(engine.below(chain), prompt)
    finally:  # also of a run that fails or is stopped, the chain has waited for what it wrote
        below = engine.tree.below(chain)
        engine.join(chain, [thread for thread in below if thread.parent is chain])
    engine.check(chain)  # or what finished before it was stopped would still speak for it
    return found


def last_words(engine: Engine, syntax: Syntax, thread: Thread) -> str:
    """What a thread wrote last, as the grammar reads it."""
    text = thread.segments[-1].text
    if not syntax.endless:
        return text
    return text.removesuffix(engine.excerpt(thread, engine.unended(thread)).text)


def written(engine: Engine, thread: Thread) -> str:
    """All that a thread's context holds behind its prompt."""
    first = thread
    while first.kept and first.parent:
        first = first.parent
    prompt = sum(len(s.ids) for s in first.segments[:1] if s.origin == "prompt")
    return engine.excerpt(thread, prompt).text
