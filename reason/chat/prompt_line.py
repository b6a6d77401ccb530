"""The line in which questions and commands are typed: history, completion, pasted lines."""

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from reason.chat.history import History

PLACEHOLDER = "ask, or /help"
BREAK = "⏎"
"""Stands for a line break of what was pasted."""


class Completion(Suggester):
    """What the line may become, by a function of it."""

    def __init__(self, complete: Callable[[str], str | None]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value)


class PromptLine(Input):
    """Up and down go through what was typed before; Tab, or right at the end, takes what is
    suggested. An empty line asks the example, if one is shown."""

    DEFAULT_CSS = """
    PromptLine { border: none; height: 1; padding: 0; }
    PromptLine:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "back", "Earlier", show=False),
        Binding("down", "forward", "Later", show=False),
        Binding("tab", "complete", "Complete", show=False),
    ]

    class Sent(Message):
        """A line was entered."""

        def __init__(self, typed: str) -> None:
            super().__init__()
            self.typed = typed

    def __init__(self, history: History, complete: Callable[[str], str | None]) -> None:
        super().__init__(
            placeholder=PLACEHOLDER,
            id="prompt",
            suggester=Completion(complete),
            select_on_focus=False,
        )
        self.cursor_blink = False  # nothing is sent over a line that is idle
        self._history = history
        self._may_become = complete
        self._example = ""

    @property
    def typed(self) -> str:
        """The line, with the line breaks that it stands for."""
        return self.value.replace(BREAK, "\n")

    async def action_submit(self) -> None:
        """Keep the line, hand it over, and begin a new one: at once, since what is typed meanwhile
        belongs to the next."""
        typed = self.typed.strip() or self._example
        if typed:
            self._history.add(typed)
            self.value = ""
            self.suggest("")
            self.post_message(self.Sent(typed))

    def suggest(self, example: str) -> None:
        """Show a question that Enter asks, until another one is asked."""
        self._example, self.placeholder = example, example or PLACEHOLDER

    def put(self, text: str) -> None:
        """Put a text there to be edited."""
        self.value = text.replace("\n", BREAK)
        self.cursor_position = len(self.value)

    def action_back(self) -> None:
        self.put(self._history.back(self.typed))

    def action_forward(self) -> None:
        self.put(self._history.forward())

    def action_complete(self) -> None:
        found = self._may_become(self.value)
        if found and self.cursor_at_end:
            self.put(found)
        else:
            self.screen.focus_next()

    async def _on_key(self, event: events.Key) -> None:
        """Keys take effect in the order in which they come. Those with a binding would go through
        the app first, and what is typed behind them would overtake them."""
        bound = self._bindings.key_to_bindings.get(event.key)
        if bound and not event.is_printable:
            event.stop()
            event.prevent_default()
            await self.run_action(bound[0].action)
        else:
            await super()._on_key(event)

    def _on_paste(self, event: events.Paste) -> None:
        text = event.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        self.replace(text.replace("\n", BREAK), *self.selection)
        event.prevent_default()
        event.stop()
