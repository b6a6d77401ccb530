"""What was typed in this chat and in earlier ones."""

import json
import os
from contextlib import suppress
from pathlib import Path

KEPT = 1000
"""Lines that are read of an earlier chat."""


def state_folder() -> Path:
    """Where chats leave what outlives them: XDG_STATE_HOME/reason, or ~/.local/state/reason."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return base / "reason"


class History:
    """Lines, the last one last, and a place among them. A file that cannot be read or written is
    done without."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.lines: list[str] = []
        self._at = 0
        self._draft = ""
        if path:
            with suppress(OSError, UnicodeDecodeError):
                for line in path.read_text(encoding="utf-8").splitlines()[-KEPT:]:
                    with suppress(ValueError):
                        found = json.loads(line)
                        self.lines += [found] if isinstance(found, str) else []
        self._at = len(self.lines)

    def add(self, line: str) -> None:
        """The line was sent; one that is the same as the last is not kept twice."""
        if line and (not self.lines or self.lines[-1] != line):
            self.lines.append(line)
            if self._path:
                with suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    with self._path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
        self._at, self._draft = len(self.lines), ""

    def back(self, typed: str) -> str:
        """The line before; `typed` is kept where it is the one not sent yet."""
        if self._at == len(self.lines):
            self._draft = typed
        self._at = max(self._at - 1, 0)
        return self.lines[self._at] if self.lines else typed

    def forward(self) -> str:
        """The line after; at the end what was typed and not sent."""
        self._at = min(self._at + 1, len(self.lines))
        return self.lines[self._at] if self._at < len(self.lines) else self._draft
