"""The requests of a tree, as a tree sends them, by a client without an engine."""

import asyncio
from collections.abc import Callable, Sequence

from benchmarks.bare import Bare
from benchmarks.gpu.shapes import HEADER, SAMPLING, Plan, letters

Encode = Callable[[str], list[int]]


async def bare_tree(client: Bare, encode: Encode, plan: Plan, text: str) -> int:
    """The tokens it got. What `Grow` does for the same plan, ids in lists and nothing kept."""
    got = 0

    async def write(ids: Sequence[int], tokens: int) -> list[int]:
        nonlocal got
        answer = await client.generate(ids, SAMPLING.but(max_tokens=tokens))
        got += len(answer.ids)
        return answer.ids

    context = encode(text)
    context += await write(context, plan.parent[0])
    for lengths, after in zip(plan.rounds, plan.parent[1:], strict=True):
        if plan.kind == "spawn":
            prompts = [
                encode(letters(plan.child_prompt, f"{text} {i}")) for i in range(len(lengths))
            ]
            await asyncio.gather(*map(write, prompts, lengths))
            del context[len(context) - plan.cut :]
            context += encode(letters(plan.report * len(lengths), f"{text} report"))
        else:
            headers = [encode(letters(HEADER, f"{i}")) for i in range(len(lengths))]
            prompts = [context + header for header in headers]
            for header, ids in zip(
                headers, await asyncio.gather(*map(write, prompts, lengths)), strict=True
            ):
                context = context + header + ids
        context += await write(context, after)
    return got
