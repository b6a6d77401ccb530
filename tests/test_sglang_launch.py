"""A server of our own: started, waited for, and gone when we are, in whatever way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from reason.backends.connect import connect
from reason.backends.sglang_launch import LaunchedSGLang
from reason.errors import BackendError, UsageError
from reason.types import SamplingParams
from tests.console import reason
from tests.driving import collect, run
from tests.serving import COUNTDOWN, PYTHON, ROOT, START, processes, require

LAUNCH = f"sglang://launch?model={COUNTDOWN}&device=cpu&python={PYTHON}"
SERIAL = "<bos> <seq> 77 31 52 73 94 ; 0 <go>"
LONG = SamplingParams(temperature=1.0, max_tokens=1500)


def test_a_server_that_dies_is_not_waited_for_and_shows_its_last_words() -> None:
    require()
    said: list[str] = []
    flags = "max_running_requests=7&served_model_name=apr&random_seed=3"
    backend = connect(f"{LAUNCH}&wait={START:g}&{flags}", said.append)
    assert isinstance(backend, LaunchedSGLang)
    assert backend.info.model == "apr"
    assert f"starting SGLang with {COUNTDOWN}, 0 s: " in said
    guard, *members = processes(backend.process.pid)
    with urlopen(f"{backend.url}/server_info") as told:
        settings = json.load(told)
    assert (settings["max_running_requests"], settings["random_seed"]) == (7, 3)
    ids = backend.encode(SERIAL)

    async def main() -> None:
        streams = [backend.generate(ids, LONG) for _ in range(4)]
        await asyncio.gather(*(anext(stream) for stream in streams))
        for pid in members:
            os.kill(pid, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(BackendError, match=r"has ended:\n(?s:.)*HTTP/1\.1"):
                async for _ in stream:
                    pass

    run(main())
    begun = time.monotonic()
    with pytest.raises(BackendError, match=f"server at {backend.url} has ended:\n"):
        run(collect(backend, ids, LONG))
    assert time.monotonic() - begun < 10, "it was tried again, though nobody would answer"
    run(backend.close())
    assert not Path(f"/proc/{guard}").exists() and not backend.process.log.exists()


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    require()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BackendError, match=r"died while starting:\n.*(?s:.)*Error"):
        connect(f"sglang://launch?model={tmp_path}&device=cpu&python={PYTHON}")
    with pytest.raises(BackendError, match=r"unrecognized arguments: --tpp 2"):
        connect(f"{LAUNCH}&tpp=2")
    with pytest.raises(UsageError, match="no checkpoint directory at /nowhere"):
        connect(f"sglang://launch?model=/nowhere&python={PYTHON}")
    with pytest.raises(UsageError, match=f"{sys.executable} has no sglang; give python=PATH"):
        connect(f"sglang://launch?model={COUNTDOWN}&device=cpu&python={sys.executable}")
    with pytest.raises(UsageError, match="no Python at '/none'; give python=PATH"):
        connect(f"sglang://launch?model={COUNTDOWN}&python=/none")


def test_the_last_words_are_lines_on_the_terminal() -> None:
    require()
    result = reason("ask", "3 5 7 8 = 24", "--backend", LAUNCH.replace("device=cpu&", ""))
    assert result.exit_code == 1
    first, *log = result.output.splitlines()
    expected = (
        "reason: the SGLang server died while starting; there is no GPU, for which device=cpu:"
    )
    assert first == expected
    assert len(log) > 2 and "No accelerator" in log[-1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_orphan_stays_behind(number: int) -> None:
    require()
    command = [sys.executable, "-m", "reason.cli", "ask", "3 5 7 8 = 24", "--backend", LAUNCH]
    ours = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    members: list[int] = []
    for _ in range(600):
        members = processes(ours.pid)
        if len(members) > 2:
            break
        time.sleep(0.1)
    assert len(members) > 2, "the server was never started"
    time.sleep(2)
    members = processes(ours.pid)
    ours.send_signal(number)
    assert ours.wait(30) in (-signal.SIGKILL, 130, -signal.SIGINT)
    deadline = time.monotonic() + START / 4
    while any(Path(f"/proc/{pid}").exists() for pid in members) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = [pid for pid in members if Path(f"/proc/{pid}").exists()]
    assert not left, f"{left} of {members} still run"
    assert ours.stderr is not None
    assert b"Traceback" not in ours.stderr.read()
