"""`reason chat`: what it is given, on which screen it shows, and what it leaves."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any

from reason.backends.connect import Say
from reason.chat.commands import Commands, Methods
from reason.chat.history import History, state_folder
from reason.chat.hosts import Host, connected
from reason.chat.remote import SCHEME, RemoteHost
from reason.chat.session import Session
from reason.command import stoppable
from reason.config import Values
from reason.errors import UsageError
from reason.extras import extra
from reason.keys import Chat
from reason.question import Prepare


def chat(asked: Chat, tables: Values, prepare: Prepare, methods: Methods) -> int:
    """Hold the chat; the exit code. Raises UsageError for settings that no turn could have."""
    own = {field.name for field in fields(Chat)} | {"backends"}
    settings = {name: value for name, value in tables.items() if name not in own}
    if asked.controller:
        settings["controller"] = asked.controller
    methods.check(settings)
    with extra("chat"):
        from reason.chat.themes import theme_of
    theme = theme_of(asked.theme, os.environ)
    others = tables.get("backends", {})
    if not isinstance(others, Mapping) or "policy" in others:
        raise UsageError(f"backends has keys of its own: give backends.ROLE=SPEC, not {others!r}")
    folder = asked.folder or state_folder() / "chats" / f"{datetime.now():%Y-%m-%d-%H%M%S}"
    session = Session(None, settings, seed=asked.seed, folder=folder)
    connect = partial(_connect, prepare=prepare, others=others)
    commands = Commands(session, methods, connect)
    # Textual draws on standard error.
    seen = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    plain = asked.plain or not seen
    with stoppable(lambda: kept(session)), asyncio.Runner() as runner:
        started = partial(connect, asked.backend)
        if plain:
            return runner.run(_plain(asked, commands, started))
        return runner.run(_screen(asked, commands, started, theme))


def kept(session: Session) -> str:
    """Where the runs of a chat are recorded."""
    paths = [run.path for each in session.exchanges for run in each.runs if run.path]
    return f"recorded: reason replay {paths[-1]}" if paths else ""


def _connect(
    spec: str, *, prepare: Prepare, others: Mapping[str, Any], say: Say = lambda line: None
) -> Host:
    if spec.startswith(SCHEME):
        return RemoteHost(spec, say)
    try:
        return connected(spec, prepare, others, say)
    except UsageError as error:
        if not str(error).startswith("no backend is called"):
            raise
        raise UsageError(f"{error}; a server that runs the turns is {SCHEME}HOST:PORT") from None


async def _plain(asked: Chat, commands: Commands, connect: Callable[[], Host]) -> int:
    with extra("chat"):
        from reason.chat.plain import Plain
    session, live = commands.session, sys.stdout.isatty()
    plain = Plain(commands, sys.stdout, sys.stderr, live)
    task, hung_up = asyncio.current_task(), asyncio.Event()
    assert task

    def hang_up() -> None:
        hung_up.set()
        task.cancel()

    for each in (signal.SIGHUP, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, hang_up)
    try:
        async with session:
            host = await asyncio.to_thread(connect)
            await session.switch(host)
            for note in host.notes:
                print(note, file=sys.stderr)
            if live:
                from reason.chat.greeting import greeting

                plain.say("\n".join(line for line in greeting(host) if line))
            code = await plain.read(sys.stdin, asked.question)
    except asyncio.CancelledError:
        if not hung_up.is_set():  # Ctrl-C, which says itself what was kept
            raise
        code = 128 + signal.SIGHUP
    if session.exchanges:
        print(kept(session), file=sys.stderr)
    return code


async def _screen(asked: Chat, commands: Commands, connect: Callable[[], Host], theme: str) -> int:
    with extra("chat"):
        from reason.chat.app import ChatApp
    history = History(state_folder() / "history.jsonl")
    app = ChatApp(commands, connect, history, theme, asked.question)
    code = await app.run_async() or app.return_code or 0
    if commands.session.exchanges:
        print(kept(commands.session))
    if app.connecting:  # its thread would be waited for, and nobody will ask the model
        sys.stdout.flush()
        os._exit(code)
    return code
