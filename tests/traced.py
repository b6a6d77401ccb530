"""Chains whose paragraphs say what they use, and a teacher that reads it off them.

Run as a program it is `reason train traces` with that teacher, to be killed.
"""

import asyncio
import json
import random
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from reason.backends.scripted import Script, ScriptedBackend
from reason.backends.tokenizer import Tokenizer
from reason.types import Prompt, SamplingParams
from rl.traced.chain import Chain, read_chains
from rl.traced.contamination import Evaluations
from rl.traced.done import Done
from rl.traced.example import Example
from rl.traced.folder import Folder
from rl.traced.options import Options
from rl.traced.pipeline import Pipeline
from rl.traced.serving import Student
from rl.traced.statistics import Statistics
from rl.traced.steps import Steps
from rl.traced.teacher import Teacher

LONG = "and this goes on for a while, as a careful solution of a problem of this kind does, "


def chain(id: str, uses: Sequence[Sequence[int]], **changes: Any) -> dict[str, Any]:
    """A row whose chain has a paragraph for each entry: the numbers, from 1, that it uses."""
    told = [
        f"{'As above, we' if at else 'We'} do part {number} of {id} (uses "
        f"{' '.join(map(str, used)) or 'none'}) {LONG}{LONG}which ends it."
        for at, (number, used) in enumerate(enumerate(uses, 1))
    ]
    text = "<think>\n" + "\n\n".join(told) + "\n</think>\n\nSo it is \\boxed{7}."
    row = {"id": id, "prompt": f"What is {id}?", "chain": text, "answer": "7"}
    return {**row, **changes}


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Chains of several shapes: some with blocks, some without."""
    rng = random.Random(seed)
    return [
        chain(
            f"q{number}",
            [
                sorted({rng.randrange(1, at) for _ in range(rng.randint(0, 2))} if at > 1 else ())
                for at in range(1, rng.randint(3, 9))
            ],
        )
        for number in range(count)
    ]


def write(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def teach(context: str, params: SamplingParams) -> str:
    """What an attentive teacher answers to any of the three questions."""
    asked = context.partition("</user>")[0]
    if "<reasoning>" in asked:
        told = re.findall(r"^\[([0-9]+)\] .*?\(uses ([^)]*)\)", asked, re.MULTILINE)
        lines = [
            f"S{n}: {n} | {'none' if uses == 'none' else ', '.join(f'S{u}' for u in uses.split())}"
            for n, uses in told
        ]
        return "<think>\nlet me see</think>\n<steps>\n" + "\n".join(lines) + "\n</steps>"
    if "<so_far>" in asked and "<plan>" not in asked:
        count = len(re.findall(r"^<part [0-9]+>", asked, re.MULTILINE))
        lines = [f"{n}: do what part {n} is about" for n in range(1, count + 1)]
        return "<outlines>\n" + "\n".join(lines) + "\n</outlines>"
    return "<edits>\n<edit><old>As above, we</old><new>We</new></edit>\n</edits>"


class Spelled(ScriptedBackend):
    """A script in the tokens of a tokenizer."""

    def __init__(self, script: Script, codec: Tokenizer) -> None:
        super().__init__(script, chunk=5)
        self._codec = codec

    def encode(self, prompt: Prompt) -> list[int]:
        return self._codec.encode(prompt)

    def _encode(self, text: str) -> list[int]:
        return self._codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._codec.decode(ids)


def examples(folder: Path) -> list[Example]:
    """Those in a folder, as they are on disk."""
    lines = (folder / "examples.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Example) for line in lines]


def make(
    chains: Sequence[Chain],
    out: Path,
    script: Script = teach,
    *,
    options: Options | None = None,
    student: Student | None = None,
    against: Sequence[tuple[str, str]] = (),
    concurrency: int = 4,
    delay: float = 0.0,
    seed: int = 0,
    steps: list[Done] | None = None,
) -> tuple[Statistics, Pipeline]:
    """What the command does once everything is built."""
    options = options or Options(tokenizer="teacher")
    backend = ScriptedBackend(script, chunk=4096, delay=delay)
    student = student or Student.of(options.tokenizer, backend)
    evaluations = Evaluations(against, options.gram)

    async def work(folder: Folder) -> Pipeline:
        teacher = Teacher(backend, options.sampling, options.tries, seed, concurrency)
        made = Steps(teacher, student, options, evaluations)
        pipeline = Pipeline(chains, made, folder, steps.append if steps is not None else str)
        await pipeline.run(concurrency)
        return pipeline

    with Folder(out, {"seed": seed, "against": evaluations.digest}) as folder:
        pipeline = asyncio.run(work(folder))
        unit = "tokens" if student.name else "words"
        return folder.finish(pipeline.items, pipeline.kept, unit, evaluations.count), pipeline


@contextmanager
def chatting(script: Script = teach) -> Iterator[str]:
    """The teacher behind a chat API, as a hosted model would be; its address."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    address: list[str] = []

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "teacher"}]})

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        turns = [f"<{m['role']}>{m['content']}</{m['role']}>" for m in body["messages"]]
        answer = str(script("".join(turns), SamplingParams(seed=body.get("seed"))))
        if not body.get("stream"):
            message = {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
            return web.json_response({"choices": [message]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        half = len(answer) // 2
        for text, finish in ((answer[:half], None), (answer[half:], None), ("", "stop")):
            event = {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        address.append(f"openai://{host}:{port}/v1?chat=1")
        ready.set()
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


if __name__ == "__main__":
    file, folder, pause = sys.argv[1:]
    make(read_chains(Path(file)), Path(folder), delay=float(pause))
