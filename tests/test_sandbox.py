import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.sandbox import Lost, Sandbox
from reason.errors import UsageError

MISBEHAVING = str(Path(__file__).with_name("misbehaving.py"))
MB = 1 << 20


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox([MISBEHAVING], size=2, seconds=0.25, memory=128 * MB)
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize(
    ("deed", "ending"),
    [
        ("spin", "it took more than 0.25 seconds of processor time"),
        ("compute", "it took more than 0.25 seconds of processor time"),
        ("sleep", "it took more than 5 seconds"),
        ("eat", "it took more than 128 MB of memory"),
        ("recurse", "it raised RecursionError"),
        ("crash", "its process ended with SIGSEGV"),
        ("exit", "its process ended with exit code 3"),
    ],
)
def test_one_request_is_lost_and_the_next_is_answered(
    sandbox: Sandbox, deed: str, ending: str
) -> None:
    before = sandbox.ask({"do": "hello"})
    assert before["value"] == "hello"
    with pytest.raises(Lost) as lost:
        sandbox.ask({"do": deed})
    assert str(lost.value) == ending
    after = sandbox.ask({"do": "again"})
    assert after["value"] == "again"
    assert (after["pid"] == before["pid"]) == (deed in ("eat", "recurse")), "a dead one is replaced"


def test_a_process_that_has_grown_is_replaced_after_its_reply(sandbox: Sandbox) -> None:
    first = sandbox.ask({"do": "hello"})["pid"]
    assert sandbox.ask({"do": "grow"}) == {"value": 80 * MB}
    assert sandbox.ask({"do": "hello"})["pid"] != first


@pytest.mark.parametrize("dead", [False, True], ids=["at-once", "before"])
def test_a_process_killed_while_idle_costs_one_request(sandbox: Sandbox, dead: bool) -> None:
    pid = sandbox.ask({"do": "hello"})["pid"]
    os.kill(pid, signal.SIGKILL)
    while dead and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    with pytest.raises(Lost, match="its process ended with SIGKILL"):
        sandbox.ask({"do": "again"})
    assert sandbox.ask({"do": "again"})["value"] == "again"


def test_threads_share_a_few_processes(sandbox: Sandbox) -> None:
    replies: list[tuple[int, int, int]] = []

    def client(number: int) -> None:
        for count in range(20):
            reply = sandbox.ask({"do": [number, count]})
            replies.append((*reply["value"], reply["pid"]))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [(number, count) for number, count, _ in replies]
    assert sorted(asked) == [(number, count) for number in range(8) for count in range(20)]
    assert len({pid for *_, pid in replies}) <= 2


def test_what_does_not_start_is_said_at_once() -> None:
    broken = Sandbox([MISBEHAVING, "broken"])
    with pytest.raises(UsageError, match=r"misbehaving.py broken .* does not start \(exit code 7"):
        broken.ask({"do": "hello"})


ORPHAN = f"""
import time
from eval.sandbox import Sandbox
sandbox = Sandbox([{MISBEHAVING!r}])
print(sandbox.ask({{"do": "hello"}})["pid"], flush=True)
time.sleep(1000)
"""


def test_no_process_outlives_its_owner_even_one_that_is_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")
