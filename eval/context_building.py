"""Contexts encoded ahead of the questions, and what is kept of them."""

import asyncio
import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from controllers.ape import ParallelEncoding
from controllers.syntax import syntax_of
from reason.backends.context_store import ContextStore
from reason.backends.hf import HFBackend
from reason.backends.hf_parallel import split
from reason.errors import UsageError
from reason.run import Controller
from reason.types import Contexts

MIB = 2**20


async def build(
    method: Controller, model: HFBackend, store: ContextStore, console: Console, as_json: bool
) -> int:
    """Encode the contexts of the method, and keep each as soon as it is; those that are there are
    left alone. The exit code."""
    assert isinstance(method, ParallelEncoding)
    method.admit({"policy": model.info}, None)
    if not method.contexts:
        raise UsageError("which contexts? give 'contexts=@FILES'")
    asked = syntax_of(method.syntax).serial(method.laid("?")[0], 0)
    assert isinstance(asked, Contexts)
    ids, layout = model.encode_contexts(asked)
    model.contexts.check(ids, layout)
    prefix, contexts, _ = split(ids, layout)
    made, size = 0, 0
    shown = not as_json and console.is_terminal
    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        bar = progress.add_task("", total=len(contexts))
        several = asyncio.Semaphore(4)

        async def one(text: str, context: list[int]) -> None:
            nonlocal made, size
            async with several:
                key = model.contexts.key(prefix, context)
                if store.load(key) is None:
                    layers, _ = await model.contexts.encoded(key, prefix, context)
                    name = model.info.model
                    await asyncio.to_thread(store.save, key, layers, name, len(prefix), text)
                    made += 1
                size += store.path(key).stat().st_size
            progress.advance(bar)

        await asyncio.gather(*map(one, asked.contexts, contexts))
    about = {
        "folder": str(store.folder),
        "contexts": len(contexts),
        "encoded": made,
        "tokens": sum(layout.contexts),
        "prefix": layout.prefix,
        "bytes": size,
    }
    if as_json:
        print(json.dumps(about))
        return 0
    console.print(
        f"{made} of {len(contexts)} contexts encoded"
        f"{', the others were there' if made < len(contexts) else ''}: "
        f"{sum(layout.contexts)} tokens behind a prefix of {layout.prefix}, {size / MIB:.1f} MiB "
        f"in {store.folder}",
        markup=False,
        soft_wrap=True,
    )
    return 0


def listed(store: ContextStore, console: Console, as_json: bool) -> int:
    """Show what is kept; the exit code."""
    entries = list(store.entries())
    if as_json:
        rows = [
            {
                "name": entry.path.stem,
                "model": entry.model,
                "tokens": entry.tokens,
                "prefix": entry.prefix,
                "bytes": entry.bytes,
                "title": entry.title,
                "fault": entry.fault,
            }
            for entry in entries
        ]
        print(json.dumps(rows))
        return 0
    if not entries:
        console.print(f"no context is kept in {store.folder}", markup=False, soft_wrap=True)
        return 0
    table = Table("name", "model", "tokens", "MiB", "begins", box=None, pad_edge=False)
    for entry in entries:
        size = f"{entry.bytes / MIB:.1f}"
        shown = entry.title or entry.fault
        table.add_row(entry.path.stem[:12], Path(entry.model).name, str(entry.tokens), size, shown)
    console.print(table)
    total = sum(entry.bytes for entry in entries) / MIB
    console.print(
        f"{len(entries)} contexts, {total:.1f} MiB in {store.folder}", markup=False, soft_wrap=True
    )
    for entry in entries:
        if entry.fault:
            console.print(
                f"{entry.path.name} is not used: {entry.fault}", markup=False, soft_wrap=True
            )
    return 0
