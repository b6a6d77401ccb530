"""The keys of the chat that change what goes on: stop, kill, fork, pin, budget."""

import threading
from dataclasses import replace

from textual.widgets import Input

from reason.backends.scripted import ScriptedBackend
from reason.chat.conversation import Conversation
from reason.chat.dialogs import Asked, Read
from reason.chat.hosts import Host
from reason.chat.prompt_line import PromptLine
from reason.chat.text_view import TextView
from reason.chat.tree_view import TreeView
from reason.types import Prompt
from tests.chatting import QUESTION, answered, app, ask, endless, general, ready, rows, said, until


class Deaf(ScriptedBackend):
    """A model without a word for what is large."""

    def encode(self, prompt: Prompt) -> list[int]:
        return super().encode("?" if "large" in str(prompt) else prompt)


async def test_escape_stops_the_turn_and_leaves_nothing_running() -> None:
    backend = general(endless, delay=0.02)
    chat = app(backend, controller="self_consistency", n="3")
    async with chat.run_test(size=(80, 24)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await until(lambda: backend.running == 3)
        await pilot.press("escape")
        await until(lambda: not chat.session.running)
        assert backend.running == 0
        await until(lambda: "no answer: it was stopped" in said(chat))
        await pilot.press("escape")
        assert chat.focused is chat.query_one(PromptLine)


async def test_threads_are_killed_forked_and_pinned_by_keys() -> None:
    backend = general(endless, delay=0.02, chunk=2)
    chat = app(backend, controller="self_consistency", n="3")
    async with chat.run_test(size=(120, 40)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await until(lambda: chat.tree_view and "0.2" in chat.tree_view.run.watch.lines)
        view = chat.tree_view
        assert view
        lines = view.run.watch.lines
        await until(lambda: lines["0.2"].tokens > 40)
        view.focus()
        view.go_to("0.0")
        await pilot.press("x")
        await until(lambda: lines["0.0"].finish == "cancelled")
        await pilot.press("down")
        assert view.selected == "0.1"
        await pilot.press("enter")
        assert isinstance(chat.focused, TextView)
        await pilot.press("home", "right", "right", "right")
        cursor = chat.focused.cursor
        await pilot.press("f")
        await until(lambda: isinstance(chat.screen, Asked))
        await pilot.press(*"more", "enter")
        await until(lambda: "0.1.0" in lines)
        script = view.run.texts.scripts["0.1.0"]
        assert cursor and script.kept == view.run.texts.scripts["0.1"].cut_at(cursor)[0]
        assert script.text.startswith("more") and view.selected == "0.1.0"
        await pilot.press("b")
        await until(lambda: isinstance(chat.screen, Asked))
        chat.screen.query_one(Input).value = "total_tokens=1"
        await pilot.press("enter")
        await until(lambda: view.run.ending)
        assert view.run.ending and view.run.ending.limit == "total_tokens"
        await pilot.press("x")
        await until(lambda: "has ended" in said(chat))
        decisions = {(each.thread, each.name) for each in view.run.timeline.decisions}
        assert {("0", "budget"), ("0.1.0", "hint")} <= decisions


async def test_an_ended_turn_is_said_to_have_ended_before_anything_is_typed() -> None:
    chat = app(controller="apr", width="4")
    async with chat.run_test(size=(100, 30)) as pilot:
        await ready(chat)
        await ask(chat, pilot, QUESTION)
        await answered(chat)
        chat.query_one(TreeView).focus()
        for number, key in enumerate("pb", 1):
            await pilot.press(key)
            await until(lambda number=number: said(chat).count("the turn has ended") == number)
            assert not isinstance(chat.screen, Asked)
        await ask(chat, pilot, "/kill 0.1")
        await until(lambda: "the turn has ended: there is nothing to kill" in said(chat))
        await ask(chat, pilot, "/pin 0.1 7")
        await until(lambda: said(chat).count("the turn has ended") == 4)
        file = chat.session.exchanges[0].runs[0]
        file.job = replace(file.job, recorded=True)
        chat.query_one(TreeView).focus()
        await pilot.press("f")
        await until(lambda: "this run is a recording" in said(chat))


async def test_a_budget_is_changed_from_the_one_there_is() -> None:
    backend = general(endless, delay=0.02)
    chat = app(backend, controller="single", budget={"critical_path": "4k", "seconds": "60"})
    async with chat.run_test(size=(100, 30)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await until(lambda: chat.tree_view and chat.tree_view.run.watch.tokens)
        chat.query_one(TreeView).focus()
        for wanted in ("critical_path=4000 seconds=60", "critical_path=40001 seconds=601"):
            await pilot.press("b")
            await until(lambda: isinstance(chat.screen, Asked))
            line = chat.screen.query_one(Input)
            assert line.value == wanted
            line.value = "critical_path=40001 seconds=601"
            await pilot.press("enter")
            await until(lambda: not isinstance(chat.screen, Asked))
            await until(lambda: "budget of this turn: critical_path=40001" in said(chat))
        await pilot.press("escape")


async def test_a_fork_of_an_ended_turn_goes_into_its_account() -> None:
    chat = app(controller="apr", width="4")
    async with chat.run_test(size=(100, 30)) as pilot:
        await ready(chat)
        await ask(chat, pilot, QUESTION)
        await answered(chat)
        run = chat.session.exchanges[0].runs[0]
        threads = run.figures["threads"]
        chat.query_one(TreeView).focus()
        await pilot.press("f")
        await until(lambda: isinstance(chat.screen, Asked))
        await pilot.press("enter")
        await answered(chat, 2)
        assert f"{threads + 1} threads" in said(chat) and "◆ hint" not in "".join(rows(chat))
        assert "does not know" not in said(chat)
        await ask(chat, pilot, "/fork 0.1")
        await answered(chat, 3)
        assert f"{threads + 2} threads" in said(chat)


async def test_a_hint_that_the_model_cannot_read_is_warned_of() -> None:
    chat = app(Deaf(endless, delay=0.02), controller="single")
    async with chat.run_test(size=(100, 30)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await until(lambda: chat.tree_view and chat.tree_view.run.watch.tokens)
        await ask(chat, pilot, "/fork 0 try large ones")
        await until(lambda: "has words that the model does not know" in said(chat))
        assert "what it read is “?”" in said(chat)
        await pilot.press("escape")


async def test_letters_are_letters_in_the_line_and_a_pin_is_the_answer() -> None:
    backend = general(endless, delay=0.02)
    chat = app(backend, controller="single")
    async with chat.run_test(size=(80, 24)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await until(lambda: chat.tree_view)
        chat.query_one(PromptLine).focus()
        await pilot.press(*"xfpbv")
        assert chat.query_one(PromptLine).value == "xfpbv"
        assert not isinstance(chat.screen, Asked)
        chat.tree_view.focus()  # type: ignore[union-attr]
        await pilot.press("p")
        await until(lambda: isinstance(chat.screen, Asked))
        await pilot.press(*"42", "enter")
        await until(lambda: "pinned: 42" in said(chat))
        await pilot.press("escape")
        await answered(chat)
        assert chat.session.exchanges[0].reply == "42"


async def test_a_small_window_is_left_by_escape_and_the_turn_goes_on_behind_it() -> None:
    chat = app(general(endless, delay=0.02), controller="single")
    async with chat.run_test(size=(80, 24)) as pilot:
        await until(lambda: chat.session.host)
        await ask(chat, pilot, "go on")
        await pilot.press("f1")
        await until(lambda: isinstance(chat.screen, Read))
        await pilot.press("escape")
        await until(lambda: not isinstance(chat.screen, Read))
        assert chat.session.running
        await pilot.press("f1")
        await until(lambda: isinstance(chat.screen, Read))
        await chat.session.stop()
        await until(lambda: "no answer: it was stopped" in said(chat))
        assert isinstance(chat.screen, Read)
        await pilot.press("escape")
        await until(lambda: not isinstance(chat.screen, Read))


async def test_what_is_typed_behind_a_line_that_was_entered_belongs_to_the_next() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(100, 30)):
        await ready(chat)
        line = chat.query_one(PromptLine)
        for text in ("/kill 0.7", "/kill 0.8"):
            line.put(text)
            await line.action_submit()
            line.put("more")
        await until(lambda: "> /kill 0.8" in said(chat))
        assert "> /kill 0.7" in said(chat) and line.value == "more"


async def test_a_question_while_the_model_loads_is_asked_then() -> None:
    gate = threading.Event()
    chat = app(controller="apr", width="4")
    connect = chat._connect

    def slowly() -> Host:
        gate.wait(60)
        return connect()

    chat._connect = slowly
    async with chat.run_test(size=(100, 30)) as pilot:
        await ask(chat, pilot, QUESTION)
        await until(lambda: "still loading: it is asked then" in said(chat))
        gate.set()
        await answered(chat)
        assert "✓ verified" in said(chat)


async def test_the_conversation_follows_after_the_terminal_was_too_small() -> None:
    chat = app(controller="apr")
    async with chat.run_test(size=(100, 24)) as pilot:
        await ready(chat)
        for turn in range(12):
            await ask(chat, pilot, f"/kill 0.{turn}")
        await pilot.resize_terminal(30, 8)
        await pilot.pause(0.2)
        await pilot.resize_terminal(100, 24)
        await ask(chat, pilot, "/kill 9.9")
        await until(lambda: "> /kill 9.9" in said(chat))
        pane = chat.query_one(Conversation)
        await until(lambda: pane.max_scroll_y > 0 and pane.scroll_y == pane.max_scroll_y)
        pane.scroll_up(animate=False)
        await pilot.pause(0.2)
        assert pane.scroll_y < pane.max_scroll_y
