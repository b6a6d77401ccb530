"""The chat as plain lines, and as a command in a pipe."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reason.backends.base import Backend
from reason.chat.plain import Plain
from reason.record import read
from reason.types import SamplingParams
from tests.chatting import PATIENCE, QUESTION, commands, endless, general, session
from tests.console import SHORT, tiny
from tests.oracle import oracle

ROOT = Path(__file__).parent.parent


async def talked(
    *lines: str, backend: Backend | None = None, live: bool = False, **settings: Any
) -> tuple[int, list[str], list[str]]:
    """Exit code, what was printed, and what was complained of."""
    out, err = io.StringIO(), io.StringIO()
    async with session(backend, **settings) as chat:
        plain = Plain(commands(chat), out, err, live)
        code = await plain.read(io.StringIO("".join(f"{line}\n" for line in lines)))
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


async def test_questions_and_commands_line_by_line() -> None:
    code, said, wrong = await talked(
        QUESTION, "/method single", "", "/budget total_tokens=20", "/budget", "/quit", "unheard",
        controller="apr", width="4",
    )  # fmt: skip
    assert (code, wrong) == (0, [])
    assert said[1] == "verified" and "on the critical path" in said[2]
    assert said[3:] == [
        "method: single",
        "method: single budget.total_tokens=20",
        "method: single budget.total_tokens=20",
    ]


@pytest.mark.parametrize(
    "line, message",
    [
        ("/method nosuch", "reason: no method is called 'nosuch'; there is: apr, threadweaver"),
        ("/method apr width=x", "reason: width must be an integer, got 'x'"),
        ("/method apr pdr", "reason: one method at a time"),
        ("/compare apr", "reason: two methods are compared"),
        ("/replay", "reason: which file?"),
        ("/replay 'x", 'reason: "\'x": No closing quotation'),
        ("/replay x speed=-1", "reason: speed must be 0 or more"),
        ("/replay x spede=4", "reason: unknown key spede (did you mean speed?)"),
        ("/kill 0", "reason: nothing runs"),
        ("/fork 0", "reason: nothing was asked yet"),
        ("/stop", "reason: nothing runs"),
        ("/help nosuch", "reason: no controller is called 'nosuch'"),
        ("?", "reason: this model reads Countdown problems only"),
    ],
)
async def test_mistakes_are_one_line_and_the_chat_goes_on(line: str, message: str) -> None:
    code, said, wrong = await talked(line, QUESTION, controller="apr", width="4")
    assert code == 2 and len(wrong) == 1 and wrong[0].startswith(message)
    assert "verified" in said


async def test_what_can_no_more_be_done_to_an_ended_turn_and_what_can() -> None:
    code, said, wrong = await talked(
        QUESTION, "/kill 0.1", "/stop", "/fork 0.1", controller="apr", width="4"
    )
    assert code == 2 and [line.partition(":")[0] for line in wrong] == ["reason"] * 2
    assert wrong[0].startswith("reason: the turn has ended: there is nothing to kill")
    assert said[3] == "thread 0.1.0 goes on from 0.1"
    assert said[4].startswith("thread 0.1.0 done, ") and said[5].endswith("threads")


async def test_a_general_model_is_asked_what_was_said_unless_a_method_is_named() -> None:
    heard: list[str] = []

    def polite(context: str, params: SamplingParams) -> str:
        heard.append(context)
        return "Hello to you."

    code, said, wrong = await talked(
        "hello", "/method sampling.temperature=0.5", "/method apr", "/budget seconds=9",
        backend=general(polite),
    )  # fmt: skip
    assert (code, wrong, said[0]) == (0, [], "Hello to you.")
    assert heard == ["<user>hello</user>"]
    plain = "method: single syntax=plain"
    assert said[2:] == [
        f"{plain} sampling.temperature=0.5",
        "method: apr",
        "method: apr budget.seconds=9",
    ]
    _, said, _ = await talked(QUESTION, "/method", backend=oracle())
    assert said[1] == "verified" and said[3].startswith("method: apr")


async def test_no_answer_is_exit_code_one_and_the_limit_is_said() -> None:
    code, said, wrong = await talked(
        "/budget total_tokens=5",
        "?",
        backend=general(endless),
        controller="self_consistency",
        n="1",
    )
    assert (code, wrong) == (1, [])
    assert said[1] == "no answer: the run reached budget.total_tokens"


async def test_threads_are_told_where_the_output_is_a_terminal() -> None:
    code, said, _ = await talked(
        QUESTION, backend=oracle(delay=0.01), live=True, controller="apr", width="4"
    )
    assert code == 0
    told = [line for line in said if line.startswith("thread ")]
    assert told[0].startswith("thread 0 opened: ")
    assert any(line.startswith("thread 0.1 joined, ") for line in told)
    assert said.index("verified") > said.index(told[-1])


async def test_commands_are_heard_while_a_turn_goes_on() -> None:
    backend = general(endless, delay=0.02)
    code, said, wrong = await talked(
        "?", "/pin 0 42", "/stop", backend=backend, live=True, controller="single"
    )
    assert backend.running == 0
    if wrong:  # the thread was not open yet
        assert wrong == ["reason: the run has not begun: no thread is open"] and code == 2
    else:
        assert (code, said[-2]) == (0, "42") or "42" in said


def chat(*words: str, said: str, home: Path, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "reason.cli", "chat", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(said)
    process.stdin.flush()
    return process


def test_in_a_pipe_there_is_no_screen(tmp_path: Path) -> None:
    process = chat("-b", tiny(), "-c", "single", SHORT, said=f"{QUESTION}\n", home=tmp_path)
    out, err = process.communicate(timeout=PATIENCE * 3)
    assert process.returncode == 1
    assert out.startswith("no answer: the model found none\n12 tokens on the critical path")
    assert "\x1b" not in out + err
    (recording,) = (tmp_path / "reason" / "chats").glob("*/turn-1.jsonl")
    assert err.splitlines()[-1] == f"recorded: reason replay {recording}"
    assert read(recording)[0]["title"] == "3 5 7 8 = 24"


def test_a_backend_that_is_down_is_one_line(tmp_path: Path) -> None:
    process = chat("-b", "reason://127.0.0.1:9", said=f"{QUESTION}\n", home=tmp_path)
    out, err = process.communicate(timeout=PATIENCE * 3)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("reason: cannot reach http://127.0.0.1:9")


@pytest.mark.parametrize(
    "by, code, said",
    [
        (signal.SIGHUP, 129, ""),
        (signal.SIGTERM, 129, ""),
        (signal.SIGINT, 130, "reason: stopped; "),
    ],
)
def test_a_hang_up_and_ctrl_c_leave_a_recording(
    tmp_path: Path, by: signal.Signals, code: int, said: str
) -> None:
    process = chat("-c", "single", said=f"{QUESTION}\n", home=tmp_path)
    end = time.monotonic() + PATIENCE * 3
    while time.monotonic() < end:
        found = list((tmp_path / "reason" / "chats").glob("*/turn-1.jsonl"))
        if found and found[0].read_bytes().count(b"\n") > 10:
            break
        time.sleep(0.05)
    process.send_signal(by)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert err == f"{said}recorded: reason replay {found[0]}\n"
    _, events = read(found[0])
    assert sum(1 for _ in events) > 5
