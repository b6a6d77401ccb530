"""The chat in a terminal: the conversation, the live tree, the text of a thread."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from reason.chat.commands import Commands, Done
from reason.chat.completion import completed
from reason.chat.conversation import Conversation
from reason.chat.dialogs import Read
from reason.chat.frames import Frames
from reason.chat.greeting import greeting
from reason.chat.history import History
from reason.chat.hosts import Host
from reason.chat.keyboard import KEYS
from reason.chat.layout import LAYOUT
from reason.chat.prompt_line import PromptLine
from reason.chat.session import Exchange
from reason.chat.steering_keys import STEERING, SteeringKeys
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from reason.errors import ReasonError

SMALLEST = (40, 10)
"""Columns and rows below which nothing could be read."""


class ChatApp(SteeringKeys, App[int]):
    """One chat over a session. `connect` makes its first host, in a thread of its own."""

    TITLE = "reason chat"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    CSS = LAYOUT
    BINDINGS: ClassVar[list[BindingType]] = [
        *STEERING,
        Binding("escape", "stop", "Stop", priority=True),
        Binding("tab", "app.focus_next", "Next pane"),
        Binding("f1", "help", "Help"),
        Binding("ctrl+q,ctrl+c", "leave", "Quit", key_display="^q", priority=True),
    ]

    def __init__(
        self,
        commands: Commands,
        connect: Callable[[], Host],
        history: History,
        theme: str = "textual-dark",
        question: str = "",
    ) -> None:
        super().__init__()
        self.commands, self.session = commands, commands.session
        self._connect, self._history = connect, history
        self._wanted, self._question = theme, question
        self.connecting = True
        """Whether a thread is still making the first host."""
        self.frames = Frames(self.draw, self._drawn, lambda: bool(self.session.running))
        self.tree_view: TreeView | None = None
        """The tree whose selected thread is shown."""

    def compose(self) -> ComposeResult:
        yield Static("", id="status")
        yield Static("", id="small")
        with Container(id="body"):
            yield Conversation()
            with Vertical(id="threads", classes="-empty"):
                yield Container(id="trees")
                yield TextView()
        with Container(id="line"):
            yield Static(">", id="mark")
            yield PromptLine(self._history, self._complete)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.theme = self._wanted
        self.query_one(PromptLine).focus()
        self._status("loading the model …")
        self.run_worker(self.frames.go(), group="frames")
        loop = asyncio.get_running_loop()
        for each in (signal.SIGHUP, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not the main thread: somebody else's
                loop.add_signal_handler(each, self._told, each)
        self._first_host()

    # What is typed

    def on_prompt_line_sent(self, event: PromptLine.Sent) -> None:
        typed = event.typed
        self.query_one(Conversation).say(typed, "user")
        if typed.partition(" ")[0] in ("/quit", "/exit"):
            self.action_leave()
        elif typed.startswith("/"):
            self._command(typed)
        else:
            self._ask(typed)

    def _ask(self, question: str) -> None:
        if self.connecting:
            self._question = question
            self.query_one(Conversation).say("the model is still loading: it is asked then")
            return
        try:
            self.begin(self.session.ask(question))
        except ReasonError as error:
            self.query_one(Conversation).say(str(error), "error")

    @work(group="commands")
    async def _command(self, typed: str) -> None:
        conversation = self.query_one(Conversation)
        if typed.startswith("/model ") and not self.session.running:
            conversation.say("connecting …")
        host = self.session.host
        try:
            done: Done = await self.commands.do(typed)
        except ReasonError as error:
            conversation.say(str(error), "error")
            return
        if done.loaded:
            await conversation.remove_children()
            for exchange in self.session.exchanges:
                conversation.past(exchange)
            if self.session.exchanges:
                self.look_at(self.session.exchanges[-1])
        if done.title:
            self.push_screen(Read(done.title, done.said))
        else:
            conversation.say(done.said)
        if done.exchange:
            self.begin(done.exchange)
        if done.branch:
            self.follow_branch(*done.branch)
        if (now := self.session.host) and now is not host:
            self.query_one(PromptLine).suggest(greeting(now)[1])
        self._status()
        self.frames.wake()

    def begin(self, exchange: Exchange) -> None:
        """Show a turn that has just begun, and how it ends."""
        self.look_at(exchange)
        self._follow(exchange)

    @work(group="turns")
    async def _follow(self, exchange: Exchange) -> None:
        for run in exchange.runs:
            await run.over()
        self.query_one(Conversation).answer(exchange)
        self.frames.wake()

    @work(group="trees", exclusive=True)
    async def look_at(self, exchange: Exchange) -> None:
        """Put the trees of a turn on the screen."""
        trees = self.query_one("#trees")
        focused = isinstance(self.focused, TreeView)
        views = [TreeView(run) for run in exchange.runs]
        await trees.remove_children()
        trees.set_class(len(views) > 1, "pair")
        await trees.mount(*views)
        self.query_one("#threads").remove_class("-empty")
        self.tree_view = views[0]
        if focused:
            views[0].focus()
        self.frames.wake()

    def _complete(self, line: str) -> str | None:
        return completed(line, self.commands.methods, self.session.whole(self.session.settings))

    # What is shown

    def draw(self) -> None:
        """One frame."""
        for view in self.query(TreeView):
            view.frame()
        if (shown := self.tree_view) and (panes := self.query(TextView)):  # none while it closes
            panes.first().show(shown.run, shown.selected)

    async def _drawn(self) -> None:
        done = asyncio.Event()
        if self.screen.is_current and self.call_after_refresh(done.set):
            await asyncio.wait([asyncio.create_task(done.wait())], timeout=5)

    def on_tree_view_selected(self, event: TreeView.Selected) -> None:
        self.tree_view = event.view
        self.query_one(TextView).show(event.view.run, event.view.selected)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, TreeView):
            self.on_tree_view_selected(TreeView.Selected(event.widget))

    def on_resize(self, event: events.Resize) -> None:
        columns, rows = event.size
        small = columns < SMALLEST[0] or rows < SMALLEST[1]
        self.screen.set_class(small, "-small")
        wanted = f"{SMALLEST[0]}x{SMALLEST[1]}"
        told = Content(f"terminal too small: {columns}x{rows}, {wanted} at least")
        self.query_one("#small", Static).update(told)
        self.frames.wake()

    def _status(self, doing: str = "") -> None:
        host = self.session.host
        said = f"reason · {host.model if host else doing or 'no model'} · {self.commands.settled()}"
        self.query_one("#status", Static).update(Content(said))

    @work(group="host")
    async def _first_host(self) -> None:
        conversation, line = self.query_one(Conversation), self.query_one(PromptLine)
        if self._question:
            conversation.say(self._question, "user")
        try:
            host = await asyncio.to_thread(self._connect)
            await self.session.switch(host)
        except ReasonError as error:
            self.connecting = False
            conversation.say(str(error), "error")
            conversation.say("/model SPEC connects another backend, /help lists what there is")
            line.put(self._question)
            self._status("no model")
            return
        self.connecting = False
        about, example = greeting(host)
        conversation.say(about)
        for note in host.notes:
            conversation.say(note, "warning")
        self._status()
        if self._question:
            self._ask(self._question)
        else:
            line.suggest(example)

    # Keys

    def action_stop(self) -> None:
        if self.session.running:
            self.query_one(Conversation).say("stopped")
            self.run_worker(self.session.stop(), group="stopping")
        else:
            self.query_one(PromptLine).focus()

    def action_help(self) -> None:
        self._help()

    @work(group="help")
    async def _help(self) -> None:
        done = await self.commands.do("/help")
        self.push_screen(Read("help", f"{KEYS}\n{done.said}"))

    def action_turn(self, by: int) -> None:
        """Look at another turn."""
        turns = self.session.exchanges
        now = next(
            (n for n, each in enumerate(turns)
             if self.tree_view and self.tree_view.run in each.runs), 0,
        )  # fmt: skip
        if turns:
            self.look_at(turns[min(max(now + by, 0), len(turns) - 1)])

    def action_leave(self) -> None:
        self._leave()

    @work(group="leaving", exclusive=True)
    async def _leave(self) -> None:
        await self.session.close()
        self.exit(0)

    def _told(self, by: signal.Signals) -> None:
        if by == signal.SIGHUP:
            self._hang_up()
        else:
            self.action_leave()

    @work(group="leaving", exclusive=True)
    async def _hang_up(self) -> None:
        """The terminal went away: what runs is ended, and is on record."""
        with self.batch_update():  # who writes to a terminal that is gone waits for ever
            try:
                await self.session.close()
            finally:
                os._exit(128 + signal.SIGHUP)
