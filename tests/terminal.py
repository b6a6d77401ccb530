"""A terminal for tests: tmux, on a server of its own; keys are typed, and the screen is read."""

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 120.0
"""Seconds to wait for what a screen is to show: a model is loaded, on a machine that is busy."""
ROOT = Path(__file__).parent.parent


def require() -> str:
    """Where tmux is. Skips where that was asked for, fails where it is missing."""
    if os.environ.get("SKIP_TMUX") == "1":
        pytest.skip("SKIP_TMUX=1: nothing was typed in a terminal")
    found = shutil.which("tmux")
    if not found:
        pytest.fail("no tmux: sudo apt-get install tmux, or set SKIP_TMUX=1")
    return found


class Terminal:
    """One program in a terminal."""

    def __init__(self, tmux: str, socket: Path) -> None:
        self._tmux = [tmux, "-S", str(socket), "-f", os.devnull]

    def tell(self, *words: str) -> str:
        """A command of tmux's."""
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, *keys: str) -> None:
        """Keys by their names in tmux: Enter, Escape, Tab, C-q, or characters."""
        for key in keys:
            self.tell("send-keys", key)

    def write(self, text: str) -> None:
        """Characters, as they are."""
        self.tell("send-keys", "-l", text)

    def screen(self) -> str:
        """What stands there."""
        return self.tell("capture-pane", "-p")

    def wait(self, *words: str, true: Callable[[str], bool] = bool) -> str:
        """Until all these words stand on the screen, which is given back."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            screen = self.screen()
            if all(word in screen for word in words) and true(screen):
                return screen
            time.sleep(0.1)
        raise AssertionError(f"{words} did not come in {PATIENCE:g} s:\n{screen}")

    def pids(self) -> list[int]:
        """The program's process and all below it."""
        top = int(self.tell("list-panes", "-F", "#{pane_pid}"))
        found = [top]
        for pid in found:
            tasks = Path(f"/proc/{pid}/task/{pid}/children")
            found += map(int, tasks.read_text().split()) if tasks.exists() else []
        return found


@contextmanager
def terminal(
    *command: str, size: tuple[int, int] = (80, 24), environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """The command in a terminal of so many columns and rows; its exit code is shown at its end."""
    tmux = require()
    with tempfile.TemporaryDirectory(prefix="reason-tmux-") as folder:
        opened = Terminal(tmux, Path(folder) / "socket")
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        # What readline leaves there would go before the size that the terminal has.
        bare = ("env", "-u", "COLUMNS", "-u", "LINES")
        line = f"{shlex.join([*bare, *given, *command])}; echo EXIT $?; sleep 1000"
        columns, rows = map(str, size)
        opened.tell("new-session", "-d", "-x", columns, "-y", rows, "-c", str(ROOT), line)
        try:
            yield opened
        finally:
            subprocess.run([*opened._tmux, "kill-server"], capture_output=True)
