"""Small windows over the chat: one line that is asked for, and a text that is read."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Markdown, Static

from reason.chat.texts import shown


class Asked(ModalScreen[str | None]):
    """One line; None where it was left by Escape."""

    DEFAULT_CSS = """
    Asked { align: center middle; }
    Asked > Vertical {
        width: 80%; max-width: 90; height: auto; border: round $accent; padding: 0 1;
    }
    Asked Label { width: 1fr; }
    Asked Input, Asked Input:focus { border: none; height: 1; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Cancel", priority=True)]

    def __init__(self, question: str, suggested: str = "") -> None:
        super().__init__()
        self._question, self._suggested = question, suggested

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(Content(shown(self._question)))
            yield Input(self._suggested, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)


class Read(ModalScreen[None]):
    """A text, as Markdown or as it is, that can be scrolled."""

    DEFAULT_CSS = """
    Read { align: center middle; }
    Read > VerticalScroll { width: 90%; height: 90%; border: round $accent; padding: 0 1; }
    Read Markdown { margin: 0; padding: 0; background: transparent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Close", priority=True)
    ]

    def __init__(self, title: str, text: str, markdown: bool = False) -> None:
        super().__init__()
        self._title, self._text, self._markdown = title, text, markdown

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = Content(shown(self._title))
            if self._markdown:
                yield Markdown(self._text, open_links=False)
            else:
                yield Static(Group(*_columns(shown(self._text))))

    def action_leave(self) -> None:
        self.dismiss(None)


_PAIR = re.compile(r"( *\S.*?) {2,}(\S.*)")
"""A line with a gap in it: a name, and what is said of it."""


def _columns(text: str) -> Iterator[RenderableType]:
    """The text, in which what is said of a name is wrapped beside it, not below."""
    for paired, lines in groupby(text.splitlines(), lambda line: bool(_PAIR.fullmatch(line))):
        if not paired:
            yield from map(Text, lines)
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(max_width=30)
        for line in lines:
            found = _PAIR.fullmatch(line)
            assert found
            table.add_row(Text(found[1]), Text(found[2]))
        yield table
