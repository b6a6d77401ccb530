"""The tree of the chat: its title, and which of its rows are seen."""

import asyncio

from textual.widgets import Input

from reason.chat.heading import heading
from reason.chat.hosts import played
from reason.chat.prompt_line import PromptLine
from reason.chat.run import Run
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from reason.events import Closed, Opened
from tests.chatting import QUESTION, answered, app, ask, ready, rows, until
from tests.test_chat_parts import EVENTS, tokens


def title(view: TreeView) -> str:
    return str(view.border_title)


async def test_a_turn_that_is_looked_at_again_has_its_figures() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(120, 40)) as pilot:
        await ready(chat)
        for turn in (1, 2):
            await ask(chat, pilot, QUESTION)
            await answered(chat, turn)
        chat.query_one(TreeView).focus()
        await pilot.press("left_square_bracket")
        await until(lambda: chat.tree_view.run is chat.session.exchanges[0].runs[0])  # type: ignore[union-attr]
        await pilot.pause(0.3)
        whole = title(chat.query_one(TreeView))
        assert all(word in whole for word in (" tok ·", " tok/s ·", " threads ·", "path "))
        assert any("0.10 " in row for row in rows(chat)), "names are not cut"
        await pilot.resize_terminal(46, 30)
        await pilot.pause(0.3)
        assert " threads" in title(chat.query_one(TreeView))
        await pilot.resize_terminal(120, 40)
        await until(lambda: title(chat.query_one(TreeView)) == whole)


async def test_the_row_of_the_answer_stays_in_sight() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        await ask(chat, pilot, QUESTION)
        await answered(chat)
        answer = f"★ {chat.session.exchanges[0].runs[0].ending.thread}"  # type: ignore[union-attr]
        for where in (chat.query_one(TreeView), chat.query_one(PromptLine)):
            where.focus()
            await pilot.pause(0.3)
            shown = rows(chat)
            assert any(answer in row for row in shown) and all(shown), shown
        chat.query_one(TreeView).focus()
        await pilot.press("left_square_bracket")
        await pilot.pause(0.3)
        shown = rows(chat)
        assert any(answer in row for row in shown) and all(shown), shown


async def test_the_title_leaves_out_what_matters_least() -> None:
    run = await Run(played({"method": "m"}, EVENTS, 0)).over()
    assert heading(run, "", 80) == "m · 4.0 s · 11 tok · 3 tok/s · 3 threads · path 8"
    assert heading(run, "[x]", 80).startswith(r"m · only \[x] · 4.0 s")
    assert heading(run, "", 42) == "m · 4.0 s · 11 tok · 3 threads"
    assert heading(run, "", 0) == "m · 11 tok"
    one = [Opened(thread="0", model="m"), tokens("0", "a"), Closed(thread="0", finish="eos")]
    assert "1 thread ·" in heading(await Run(played({}, one, 0)).over(), "", 80)


async def test_one_sees_where_typing_goes() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        mark = chat.query_one("#mark")
        assert isinstance(chat.focused, Input) and mark.visible
        await pilot.press("shift+tab")
        await asyncio.sleep(0)
        assert not isinstance(chat.focused, Input) and not mark.visible


async def test_nothing_is_hidden_behind_the_scroll_bar() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(80, 24)) as pilot:
        await ready(chat)
        await ask(chat, pilot, QUESTION)
        await answered(chat)
        await pilot.pause(0.3)
        for pane in (chat.query_one(TreeView), chat.query_one(TextView)):
            assert pane.show_vertical_scrollbar
            seen = pane.scrollable_content_region.width
            assert {pane.render_line(y).cell_length for y in range(pane.size.height)} == {seen}
