"""The keys that change a run: kill, fork, pin, budget, and reading one of its threads."""

from math import inf
from typing import TYPE_CHECKING, Any

from textual import work
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from reason.chat.completion import LIMITS
from reason.chat.conversation import Conversation
from reason.chat.dialogs import Asked, Read
from reason.chat.frames import Frames
from reason.chat.hint import carried_on, misread
from reason.chat.maths import readable
from reason.chat.run import Run
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from reason.config import parse_words
from reason.errors import ReasonError

if TYPE_CHECKING:
    from textual.app import App

    Base = App[int]
else:
    Base = object

STEERING: list[BindingType] = [
    Binding("f", "fork", "Fork"),
    Binding("x", "kill", "Kill"),
    Binding("p", "pin", "Pin"),
    Binding("b", "budget", "Budget"),
    Binding("v", "read", "Read"),
    Binding("enter", "cross", "Text", show=False),
    Binding("slash", "find", "Find", show=False),
    Binding("left_square_bracket", "turn(-1)", "Turn before", show=False),
    Binding("right_square_bracket", "turn(1)", "Turn after", show=False),
]
"""The keys; Textual looks for them on the app itself."""


class SteeringKeys(Base):
    """Of an app with a tree, a text and a conversation; for those two panes only."""

    tree_view: TreeView | None
    frames: Frames

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys in the panes of threads, and letters elsewhere; Escape leaves a small
        window first."""
        if action == "stop":
            return not isinstance(self.screen, ModalScreen)
        if action in ("fork", "kill", "pin", "budget", "read", "cross", "find", "turn"):
            return self.tree_view is not None and isinstance(self.focused, TreeView | TextView)
        return True

    def action_kill(self) -> None:
        self._steer("kill")

    def action_fork(self) -> None:
        self._steer("fork")

    def action_pin(self) -> None:
        self._steer("pin")

    def action_budget(self) -> None:
        self._steer("budget")

    @work(group="steering")
    async def _steer(self, what: str) -> None:
        view, text = self.tree_view, self.query_one(TextView)
        assert view
        run, thread = view.run, view.selected
        said = self.query_one(Conversation).say
        try:
            run.allow(what)
            if what == "kill":
                await run.steer.cancel(thread)
                said(f"thread {thread} was told to stop")
            elif what == "fork":
                at = text.cursor if isinstance(self.focused, TextView) else None
                await self._fork(run, thread, at)
            elif what == "pin":
                answer = await self._asked(
                    f"pin as the answer, of thread {thread} (empty: its own)"
                )
                if answer is not None:
                    said(f"pinned: {await run.steer.pin(thread, answer.strip() or None)}")
            else:
                known = {key: getattr(run.budget, key) for key in LIMITS}
                now = " ".join(f"{k}={v:.12g}" for k, v in known.items() if v < inf)
                limits = await self._asked(f"budget of this turn: {', '.join(LIMITS)}", now)
                if limits:
                    await run.extend(parse_words(limits.split()))
                    said(f"budget of this turn: {limits}")
        except ReasonError as error:
            said(str(error), "error")

    async def _fork(self, run: Run, thread: str, character: int | None) -> None:
        kept, place = None, "its end"
        if character is not None:
            script = run.texts.scripts[thread]
            kept, at = script.cut_at(character, run.steer.decode(thread))
            place = f"token {kept:,}, behind “{script.text[max(at - 20, 0) : at]}”"
        hint = await self._asked(f"fork thread {thread} at {place}; hint:")
        if hint is None:
            return
        made, late = await run.branch(thread, hint, kept), run.ending is not None
        say = self.query_one(Conversation).say
        say(f"thread {made} goes on from {thread}, {place}")
        say(misread(run, made, hint), "warning")
        if late:
            self.follow_branch(run, made)
        if self.tree_view and self.tree_view.run is run:
            self.tree_view.go_to(made)
        self.frames.wake()

    @work(group="branches")
    async def follow_branch(self, run: Run, thread: str) -> None:
        """Say how a thread ends that was forked from an ended turn."""
        said = await carried_on(run, thread)
        self.query_one(Conversation).say(said)
        self.frames.wake()

    async def _asked(self, question: str, suggested: str = "") -> str | None:
        answer: Any = await self.push_screen_wait(Asked(question, suggested))
        return answer if answer is None else str(answer)

    def action_read(self) -> None:
        if self.tree_view:
            name = self.tree_view.selected
            script = self.tree_view.run.texts.scripts.get(name)
            text = readable(script.written() if script else "", markdown=True)
            self.push_screen(Read(f"thread {name}", text, markdown=True))

    def action_cross(self) -> None:
        """From the tree to the text, and back."""
        if isinstance(self.focused, TreeView):
            self.query_one(TextView).focus()
        elif self.tree_view:
            self.tree_view.focus()

    @work(group="steering")
    async def action_find(self) -> None:
        words = await self._asked("only threads with these words (empty: all)")
        if words is not None and self.tree_view:
            self.tree_view.only(words.strip())
