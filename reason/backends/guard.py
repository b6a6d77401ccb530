"""Run a command that must not outlive us: `python -m reason.backends.guard LOG COMMAND...`.

It is stopped, with all processes of its session, when standard input ends - which it does however
the process at its other end goes, a SIGKILL included.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 15.0
"""Seconds between asking to stop and making it."""


def main(log: str, command: list[str]) -> int:
    with open(log, "ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )

    def watch() -> None:
        while os.read(0, 4096):  # unlike sys.stdin's, one that may go on while Python ends
            pass
        _signal(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
        _signal(child.pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    _signal(child.pid, signal.SIGKILL)  # what it left behind
    return code


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
