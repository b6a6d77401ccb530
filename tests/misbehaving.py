"""A process of eval.sandbox that does what it is told, however bad."""

import os
import signal
import sys
import time
from typing import Any

from eval.sandbox import serve

kept: list[bytes] = []


def reply(request: dict[str, Any]) -> dict[str, Any]:
    print("this is no reply")
    match request["do"]:
        case "spin":
            while True:
                pass
        case "compute":
            return {"value": 9**9**9}  # one instruction, in which no signal handler can run
        case "sleep":
            time.sleep(1000)
        case "eat":
            return {"value": len("x" * (1 << 34))}
        case "grow":
            kept.append(b"x" * (80 << 20))
            return {"value": len(kept[0])}
        case "recurse":
            return reply({"do": "recurse"})
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
    return {"value": request["do"], "pid": os.getpid()}


if __name__ == "__main__":
    if sys.argv[1] == "broken":
        sys.exit(7)
    serve(reply, float(sys.argv[1]), int(sys.argv[2]))
