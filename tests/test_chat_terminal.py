"""`reason chat` whole, in a terminal: keys are typed, the screen is read."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reason.record import read
from tests.terminal import PATIENCE, Terminal, terminal

CHAT = (sys.executable, "-m", "reason.cli", "chat")


def ready(opened: Terminal) -> None:
    opened.wait("It plays Countdown and nothing", "> make 24 from 3 5 7 8")


@contextmanager
def writing(state: Path) -> Iterator[Terminal]:
    """A chat that writes its first answer, a long one."""
    environment = {"XDG_STATE_HOME": str(state)}
    with terminal(*CHAT, "-c", "single", size=(80, 24), environment=environment) as opened:
        ready(opened)
        opened.type("Enter")
        opened.wait("thread 0 · follows", "<go>")
        yield opened


def enter(opened: Terminal, line: str) -> None:
    opened.write(line)
    opened.type("Enter")


def gone(pids: list[int]) -> None:
    """Wait until none of these processes is left."""
    end = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, f"of {pids} some are left"
        time.sleep(0.05)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_a_conversation_from_the_first_key_to_the_last(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path)}
    with terminal(*CHAT, "width=4", size=size, environment=state) as opened:
        ready(opened)
        opened.type("Enter")
        screen = opened.wait("✓ verified", "tokens on the critical path", "├─ ", "★ 0")
        assert "┃" in screen
        opened.wait("─thread 0.4 · follows")
        for key, shown in {
            "BTab": "━thread 0.4",
            "BTab ": "━apr ",
            "Up": "─thread 0.3 · follows",
            "Enter": "━thread 0.3",
            "Home": "━thread 0.3 · at character 0, End follows",
        }.items():
            opened.type(key.strip())
            opened.wait(shown)
        opened.type("Escape")  # what follows it at once would be one key with it
        opened.wait(true=lambda screen: "end Follow" not in screen)
        enter(opened, "/budget total_tokens=60")
        opened.wait("budget.total_tokens=60")
        enter(opened, "3 5 7 9 = 24")
        opened.wait("the run reached budget.total_tokens")
        enter(opened, "/nosuch")
        opened.wait("no command is called 'nosuch'")
        opened.type("Up", "Up")
        opened.wait("> 3 5 7 9 = 24")
        opened.type("F1")
        opened.wait("╭─ help", "previous pane")
        opened.type("Escape")
        opened.wait(true=lambda screen: "╭─ help" not in screen)
        opened.type("C-q")
        screen = opened.wait("EXIT 0", "recorded: reason replay")
    (folder,) = (tmp_path / "reason" / "chats").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["turn-1.jsonl", "turn-2.jsonl"]
    assert "24 from 3 5 7 8" in (tmp_path / "reason" / "history.jsonl").read_text()


def test_escape_ends_the_turn_and_the_chat_goes_on(tmp_path: Path) -> None:
    with writing(tmp_path) as opened:
        opened.type("Escape")
        opened.wait("no answer: it was stopped")
        enter(opened, "/method apr width=4")
        opened.wait("method: apr width=4")
        enter(opened, "3 5 7 8 = 24")
        opened.wait("✓ verified")


def test_a_dropped_connection_leaves_the_run_on_record_and_no_process(tmp_path: Path) -> None:
    with writing(tmp_path) as opened:
        pids = opened.pids()
        assert len(pids) > 1
        opened.tell("kill-session")  # the terminal goes away: SIGHUP, and nobody reads any more
        gone(pids)
    (recording,) = (tmp_path / "reason" / "chats").glob("*/turn-1.jsonl")
    header, events = read(recording)
    assert header["title"] == "3 5 7 8 = 24" and sum(1 for _ in events) > 2
    words = (sys.executable, "-m", "reason.cli", "replay", str(recording), "speed=0")
    with terminal(*words) as opened:
        opened.wait("answer   none", "EXIT 1")


def test_it_is_left_at_once_while_its_model_loads(tmp_path: Path) -> None:
    with terminal(*CHAT, size=(80, 24), environment={"XDG_STATE_HOME": str(tmp_path)}) as opened:
        opened.wait("loading the model")
        began = time.monotonic()
        opened.type("C-q")
        opened.wait("EXIT 0")
        assert time.monotonic() - began < 3, "the model is not waited for"


def test_it_can_be_killed_at_any_time(tmp_path: Path) -> None:
    with writing(tmp_path) as opened:
        os.kill(opened.pids()[-1], signal.SIGKILL)
        opened.wait("EXIT 137")
    (recording,) = (tmp_path / "reason" / "chats").glob("*/turn-1.jsonl")
    assert sum(1 for _ in read(recording)[1]) > 2


def test_a_backend_that_is_down_and_a_small_terminal_are_said(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path), "NO_COLOR": "1"}
    down = (*CHAT, "-b", "reason://127.0.0.1:9")
    with terminal(*down, size=(80, 24), environment=state) as opened:
        opened.wait("cannot reach http://127.0.0.1:9", "/model SPEC connects another backend")
        enter(opened, "hello")
        opened.wait("no model is connected")
        opened.tell("resize-window", "-x", "38", "-y", "24")
        opened.wait("terminal too small: 38x24, 40x10 at", "least")
        opened.tell("resize-window", "-x", "80", "-y", "24")
        opened.wait("no model is connected")
        opened.type("C-c")
        opened.wait("EXIT 0")
