"""A pane of rows, of which only those on the screen are ever drawn."""

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView

STEP = 32
"""Rows by which the room grows: for each other height everything on the screen is laid out anew,
which costs as much as drawing it."""


class Pane(ScrollView, can_focus=True):
    """Its keys move from row to row."""

    DEFAULT_CSS = """
    Pane {
        border-top: solid $primary; height: 1fr; overflow-x: hidden;
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
    }
    Pane:focus { border-top: heavy $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = Style()
        """As of the last frame: to ask for it costs more than to draw a row."""

    @property
    def columns(self) -> int:
        """Beside the scroll bar."""
        return max(self.scrollable_content_region.width, 0)

    def action_move(self, by: int) -> None:
        """So many rows down, or up."""
        raise NotImplementedError

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self.size.height - 1, 1))

    def _make_room(self, rows: int) -> None:
        """To scroll in, for so many rows."""
        height = self.size.height
        height = max(height, 1) if rows <= height else -(-rows // STEP) * STEP
        self.virtual_size = Size(self.columns, height)

    def _reveal(self, row: int, rows: int) -> None:
        """Scroll to that row of so many, with no more empty ones below than there must be."""
        height = self.size.height
        if height:
            top = min(self.scroll_offset.y, max(rows - height, 0))
            top = min(max(top, row - height + 1), row)
            if top != self.scroll_offset.y:
                self.scroll_to(y=top, animate=False, force=True)
