"""The chat on a screen, driven by Textual's pilot: what is typed, and what stands there."""

from pathlib import Path

import pytest
from textual import events
from textual.containers import VerticalScroll
from textual.widgets import Static

from reason.chat.app import ChatApp
from reason.chat.conversation import Comparison, Conversation
from reason.chat.dialogs import Read
from reason.chat.history import History
from reason.chat.prompt_line import PromptLine
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from tests.chatting import QUESTION, answered, app, ask, general, ready, rows, said, until
from tests.oracle import oracle

SIZES = pytest.mark.parametrize("size", [(80, 24), (200, 60)])


@SIZES
async def test_it_starts_with_an_example_and_shows_tree_text_and_answer(
    size: tuple[int, int],
) -> None:
    chat = app(controller="apr", width="4")
    async with chat.run_test(size=size) as pilot:
        await ready(chat)
        assert "It plays Countdown and nothing else" in said(chat)
        assert chat.query_one(PromptLine).placeholder == QUESTION
        await pilot.press("enter")
        await answered(chat)
        await pilot.pause(0.5)
        assert "✓ verified" in said(chat) and f"> {QUESTION}" in said(chat)
        shown = rows(chat)
        assert "0 " in shown[0] and any("├─ ✓ 0.0" in row for row in shown)
        assert sum("┃" in row for row in shown) > 1, "the critical path is marked"
        assert any("★" in row for row in shown)
        view = chat.tree_view
        assert view
        view.go_to("0.0")
        grounds = [view.render_line(y)._segments[0].style.bgcolor for y in range(3)]  # type: ignore[union-attr]
        assert grounds[0] == grounds[2] != grounds[1], "the selected row stands out"
        await until(lambda: "<sub>" in "".join(rows(chat, TextView)))
        for pane in (Conversation, TreeView, TextView, PromptLine):
            region = chat.query(pane).first().region
            assert region.height > 0 and region.right <= size[0] and region.bottom < size[1]


@SIZES
async def test_two_methods_stand_side_by_side(size: tuple[int, int]) -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=size) as pilot:
        await ready(chat)
        await ask(chat, pilot, f"/compare apr width=4 -- single -- {QUESTION}")
        await answered(chat, 2)
        one, other = (view.region for view in chat.query(TreeView))
        wide = size[0] > 100
        assert (one.y == other.y) is wide and (one.x == other.x) is not wide
        assert "longest sequence" in said(chat)


async def test_the_table_of_a_comparison_is_as_wide_as_there_is_room() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(200, 40)) as pilot:
        await ready(chat)
        await ask(chat, pilot, f"/compare self_consistency n=2 -- single -- {QUESTION}")
        await answered(chat, 2)
        for columns in (200, 120, 80, 44):
            await pilot.resize_terminal(columns, 40)
            await pilot.pause(0.3)
            table = chat.query_one(Comparison)
            shown = str(table.content).splitlines()
            assert max(map(len, shown)) <= table.size.width and len(shown) == 7
            run = chat.session.exchanges[0].runs[1]
            assert run.ending and str(run.ending.answer) in shown[1]


async def test_mistakes_are_said_and_nothing_is_lost() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        for wrong, message in {
            "/method nosuch": "no method is called 'nosuch'",
            "/method apr nosuch=1": "unknown key nosuch",
            "/nosuch": "no command is called 'nosuch'",
            "/model nosuch": "connecting …\nno backend is called 'nosuch'",
            "/load /nowhere/x": "cannot read /nowhere/x",
            "/budget total_tokens=-1": "total_tokens must be 0 or more",
            "who are you?": "reads Countdown problems only",
        }.items():
            await ask(chat, pilot, wrong)
            await until(lambda message=message: message in said(chat))
        line = chat.query_one(PromptLine)
        line.focus()
        await pilot.press("up")
        assert line.value == "who are you?"
        assert chat.session.settings == {"controller": "apr"}
        await ask(chat, pilot, QUESTION)
        await answered(chat)


async def test_another_model_is_connected_and_the_conversation_goes_on() -> None:
    chat = app(controller="single")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        await ask(chat, pilot, QUESTION)
        await answered(chat)
        await ask(chat, pilot, "/model other")
        await until(lambda: "scripted is connected. Ask anything" in said(chat))
        await ask(chat, pilot, "how are you?")
        await answered(chat, 2)
        assert chat.session.exchanges[-1].reply == "fine"
        told = [m["content"] for m in chat.session.messages() if m["role"] == "user"]
        assert told == [QUESTION, "how are you?"]


MATHS = r"""Since $\frac{a+b}{2}$ holds, \boxed{42}. [bold]not bold[/bold] \x1b]0;title\x07

```python
def f(x): return x**2  # $\alpha$
```
""".replace(r"\x1b", "\x1b").replace(r"\x07", "\x07")


async def test_answers_are_read_with_formulas_and_cannot_inject_anything() -> None:
    chat = app(general(lambda context, params: MATHS), controller="single")
    async with chat.run_test(size=(80, 24)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "[red]why[/red]?\x1b[31m")
        await answered(chat)
        shown = said(chat)
        assert "Since (a+b)/2 holds, 42." in shown and "# $\\alpha$" in shown
        assert "[bold]not bold[/bold]" in shown and "> [red]why[/red]?␛[31m" in shown
        await pilot.pause()
        screen = "\n".join(
            "".join(part.text for part in strip)
            for strip in chat.screen._compositor.render_strips()
        )
        assert "\x1b" not in screen and "\x07" not in screen
        chat.tree_view.focus()  # type: ignore[union-attr]
        await pilot.press("v")
        assert isinstance(chat.screen, Read)
        await pilot.press("escape")


async def test_history_and_completion() -> None:
    history = History()
    history.add("first")
    chat = app(history=history, controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        line = chat.query_one(PromptLine)
        await pilot.press("up")
        assert line.value == "first"
        await pilot.press("down")
        assert line.value == ""
        for typed, completed in {
            "/me": "/method ",
            "/method thr": "/method threadweaver",
            "/method apr wid": "/method apr width=",
            "/budget crit": "/budget critical_path=",
        }.items():
            line.put(typed)
            await pilot.press("tab")
            assert line.value == completed
        line.put("nothing of the kind")
        await pilot.press("tab")
        assert chat.focused is not line


def top(chat: ChatApp) -> str:
    """The first row of a small window."""
    region = chat.screen.query_one(Static).region
    strip = list(chat.screen._compositor.render_strips())[region.y]
    return "".join(part.text for part in strip)[region.x : region.right]


async def test_long_help_is_read_from_its_beginning() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        for asked, first in {"/help apr": "width=", "/help": "/method NAME"}.items():
            await ask(chat, pilot, asked)
            await until(lambda: isinstance(chat.screen, Read))
            box = chat.screen.query_one(VerticalScroll)
            assert box.scroll_y == 0 and top(chat).strip(" │\n").startswith(first)
            await pilot.press("end")
            await until(lambda box=box: box.scroll_y == box.max_scroll_y)
            await pilot.press("escape")
        await ask(chat, pilot, "/help kill")
        await until(lambda: "stop a thread and all below it" in said(chat))


async def test_a_terminal_that_is_too_small_says_so() -> None:
    chat = app()
    async with chat.run_test(size=(39, 24)) as pilot:
        await pilot.pause()
        told = chat.query_one("#small", Static)
        assert told.display and "39x24, 40x10 at least" in str(told.content)
        await pilot.resize_terminal(80, 24)
        await until(lambda: not told.display)
        assert chat.query_one(Conversation).region.height > 10


@pytest.mark.parametrize("theme", ["textual-light", "textual-dark"])
async def test_light_and_dark(theme: str) -> None:
    chat = app(controller="apr")
    chat._wanted = theme
    async with chat.run_test(size=(80, 24)):
        await ready(chat)
        assert chat.theme == theme
        colour = chat.screen.styles.background or chat.screen.background_colors[0]
        assert (colour.brightness > 0.5) is (theme == "textual-light")


async def test_saved_and_loaded_turns_can_be_looked_at(tmp_path: Path) -> None:
    chat = app(oracle(), tmp_path, controller="apr", width="4")
    file = tmp_path / "kept.jsonl"
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        for turn in (1, 2):
            await ask(chat, pilot, QUESTION)
            await answered(chat, turn)
        await ask(chat, pilot, f"/save {file}")
        await until(lambda: "saved to" in said(chat))
        await ask(chat, pilot, f"/load {file}")
        await until(lambda: "loaded 2 turns" in said(chat))
        await until(
            lambda: chat.tree_view and chat.tree_view.run is chat.session.exchanges[1].runs[0]
        )
        chat.tree_view.focus()  # type: ignore[union-attr]
        await pilot.press("left_square_bracket")
        await until(lambda: chat.tree_view.run is chat.session.exchanges[0].runs[0])  # type: ignore[union-attr]
        await ask(chat, pilot, f"/replay {tmp_path / 'turn-1.jsonl'} speed=0")
        await answered(chat, 3)


async def test_keys_take_effect_in_the_order_in_which_they_come() -> None:
    """However soon one comes after the other: over a slow line they come in bursts."""
    chat = app(controller="apr")
    async with chat.run_test(size=(100, 30)) as pilot:
        await ready(chat)
        line = chat.query_one(PromptLine)
        for burst, left in (
            (["a", "b", "c", "backspace", "X"], "abX"),
            (["ctrl+u", "x", "y", "left", "Z"], "xZy"),
            (["ctrl+u", "slash", "b", "enter", "slash", "m"], "/m"),
        ):
            for key in burst:
                text = {"slash": "/"}.get(key, key)
                chat.post_message(events.Key(key, text if len(text) == 1 else None))
            await pilot.pause()
            await until(lambda left=left: line.value == left)
        assert "> /b" in said(chat)
