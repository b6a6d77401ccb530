"""Chats for tests: on the oracle, on a scripted general model, and what a chat knows of methods."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Markdown

from controllers.methods import METHODS, method_named
from eval.asking import Chosen, prepared
from reason.backends.base import Backend
from reason.backends.scripted import Script, ScriptedBackend
from reason.chat.app import ChatApp
from reason.chat.commands import Commands, Methods
from reason.chat.conversation import Conversation
from reason.chat.history import History
from reason.chat.hosts import Host, LocalHost
from reason.chat.prompt_line import PromptLine
from reason.chat.session import Session
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from reason.errors import UsageError
from reason.knobs import knobs_of
from reason.settings import method_of
from reason.types import SamplingParams
from tests.oracle import oracle

QUESTION = "make 24 from 3 5 7 8"
PATIENCE = 60.0
"""Seconds until something that should come is given up."""


def check(settings: Mapping[str, Any]) -> object:
    method = method_named(settings.get("controller", Chosen.controller))
    return method_of(Chosen, dict(settings), method, method_named)


KNOWN = Methods(tuple(METHODS), lambda name: tuple(knobs_of(method_named(name))), check)


def host(backend: Backend | None = None) -> LocalHost:
    return LocalHost(prepared, {"policy": backend or oracle()})


def general(script: Script, **options: Any) -> ScriptedBackend:
    """A chat model without a grammar."""
    return ScriptedBackend(script, **options)


def endless(context: str, params: SamplingParams) -> str:
    return "on and on " * 2000


def session(backend: Backend | None = None, folder: Path | None = None, **settings: Any) -> Session:
    return Session(host(backend), settings, folder=folder)


def commands(held: Session, hosts: Mapping[str, Backend] | None = None) -> Commands:
    """Commands whose /model knows these backends by name."""

    def connect(spec: str) -> Host:
        if spec not in (hosts or {}):
            raise UsageError(f"no backend is called {spec!r}")
        return host((hosts or {})[spec])

    return Commands(held, KNOWN, connect)


def app(
    backend: Backend | None = None, folder: Path | None = None, history: History | None = None,
    **settings: Any,
) -> ChatApp:  # fmt: skip
    """The application over a new session."""
    held = Session(None, settings, folder=folder)
    known = commands(held, {"other": general(lambda context, params: "fine")})
    return ChatApp(known, lambda: host(backend), history or History())


async def until(true: Callable[[], object]) -> None:
    """Wait until that holds."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


def said(chat: ChatApp) -> str:
    """All that stands in the conversation."""
    parts = []
    for widget in chat.query_one(Conversation).children:
        parts.append(widget.source if isinstance(widget, Markdown) else str(widget.content))  # type: ignore[attr-defined]
    return "\n".join(parts)


def rows(chat: ChatApp, kind: type[TreeView] | type[TextView] = TreeView) -> list[str]:
    """What a pane shows."""
    view = chat.query(kind).first()
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


async def ask(chat: ChatApp, pilot: Pilot[int], text: str) -> None:
    line = chat.query_one(PromptLine)
    line.put(text)
    line.focus()
    await pilot.press("enter")
    await pilot.pause()


async def ready(chat: ChatApp) -> None:
    await until(lambda: "is connected" in said(chat))


async def answered(chat: ChatApp, turns: int = 1) -> None:
    await until(lambda: said(chat).count("on the critical path") >= turns)
    await until(lambda: not chat.session.running)
