"""What was said and answered, with how it went."""

from collections.abc import Sequence

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Markdown, Static

from reason.account import Ending
from reason.chat.comparison import compared
from reason.chat.maths import readable
from reason.chat.reply import silence
from reason.chat.run import Run, figures_in_words
from reason.chat.session import Exchange
from reason.chat.texts import shown
from reason.watch import clean

SMALL = 36
"""Columns that a table has before it is known how many there are."""


class Comparison(Static):
    """The accounts of runs side by side, as wide as there is room."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(classes="note")
        self._runs = runs

    def on_mount(self) -> None:
        self._fit(SMALL)

    def on_resize(self) -> None:
        self._fit(self.size.width)

    def _fit(self, width: int) -> None:
        self.update(Content("\n".join(compared(self._runs, width))))


class Conversation(VerticalScroll, can_focus=True):
    """Messages from top to bottom; the last one is in view. Nothing in them is taken for markup
    of the terminal's."""

    BORDER_TITLE = "conversation"
    DEFAULT_CSS = """
    Conversation { border-top: solid $primary; height: 1fr; padding: 0 1; }
    Conversation:focus { border-top: heavy $accent; }
    Conversation Static { height: auto; width: 1fr; }
    Conversation .user { color: $text-accent; text-style: bold; margin: 1 0 0 0; }
    Conversation .note { color: $text-muted; }
    Conversation .error { color: $text-error; }
    Conversation .warning { color: $text-warning; }
    Conversation .good { color: $text-success; }
    Conversation Markdown { margin: 0; padding: 0; background: transparent; }
    Conversation MarkdownBlock { margin: 0 0 1 0; }
    """

    def on_mount(self) -> None:
        self.anchor()

    def say(self, text: str, kind: str = "note") -> None:
        """Some lines, of a kind: user, note, error, warning, good."""
        if text:
            mark = "> " if kind == "user" else ""
            if kind == "user":
                self.anchor()
            self._add(Static(Content(mark + shown(text)), classes=kind))

    def answer(self, exchange: Exchange) -> None:
        """How a turn ended."""
        for run in exchange.runs:
            if run.error:
                self.say(str(run.error), "error")
            elif run.ending:
                self._ended(run, run.ending, len(exchange.runs) > 1)
        if len(exchange.runs) > 1 and not any(run.error for run in exchange.runs):
            self._add(Comparison(exchange.runs))

    def past(self, exchange: Exchange) -> None:
        """A turn that is over."""
        self.say(exchange.said, "user")
        self.answer(exchange)

    def _ended(self, run: Run, ending: Ending, several: bool) -> None:
        if several:
            self.say(f"{run.method}:")
        if run.reply is None:
            self.say(f"no answer: {silence(ending)}", "error")
        else:
            self._add(Markdown(readable(shown(run.reply), markdown=True), open_links=False))
        if ending.verified is not None and ending.answer is not None:
            wrong = f"✗ wrong: {clean(ending.fault or '')}"
            good = ending.verified
            self.say("✓ verified" if good else wrong, "good" if good else "error")
        if run.reply is not None and ending.limit:
            self.say(f"reached budget.{ending.limit} on the way", "warning")
        for warning in (*run.figures.get("warnings", ()), run.problem):
            self.say(str(warning or ""), "warning")
        self.say(figures_in_words(run.figures))

    def _add(self, widget: Static | Markdown) -> None:
        self.mount(widget)
