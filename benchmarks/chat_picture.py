"""The picture of `reason chat` in the documents.

    python -m benchmarks.chat_picture [docs/chat.svg]

The shipped model answers the example in the application as it is, without a terminal.
"""

import asyncio
import sys
from pathlib import Path

from controllers.methods import METHODS, method_named
from eval.asking import prepared
from reason.chat.app import ChatApp
from reason.chat.commands import Commands, Methods
from reason.chat.history import History
from reason.chat.hosts import connected
from reason.chat.session import Session
from reason.knobs import knobs_of

SIZE = (150, 40)
QUESTION = "make 24 from 3 5 7 8"


async def draw(path: Path) -> None:
    host = connected("", prepared)
    methods = Methods(
        tuple(METHODS), lambda name: tuple(knobs_of(method_named(name))), lambda settings: None
    )
    session = Session(None, {"controller": "apr", "width": "8"})
    commands = Commands(session, methods, lambda spec: host)
    app = ChatApp(commands, lambda: host, History(), question=QUESTION)
    async with app.run_test(size=SIZE) as pilot:
        while session.latest is None or session.running:
            await asyncio.sleep(0.1)
        await pilot.press("shift+tab", "shift+tab")
        await pilot.pause(1.0)
        path.write_text(app.export_screenshot(title="reason chat"), encoding="utf-8")
        await session.close()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/chat.svg")))
