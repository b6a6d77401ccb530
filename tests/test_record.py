"""Runs on disk, whole and damaged."""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from controllers.self_consistency import SelfConsistency
from reason.backends.base import Chunk, Usage
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.events import Closed, Event, Noted, Opened, Tokens, to_json
from reason.record import Recorder, read
from reason.tree import ThreadTree
from reason.types import SamplingParams
from tests.runs import Run, snapshot

HEADER = {"controller": "SelfConsistency", "prompt": "Q"}


def recorded(path: Path, limit: int | None = None) -> tuple[Run, Recorder]:
    """A small run recorded to that path."""
    recorder = Recorder(path, HEADER)
    seen = Run(SelfConsistency(n=3), lambda context, params: "\\boxed{7} é\n" * 40)
    seen.sinks.append(recorder)
    done = asyncio.run(seen.go())
    recorder.close()
    assert done.result is not None and done.result.answer == "7"
    return seen, recorder


def test_a_recording_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "run.jsonl"
    seen, recorder = recorded(path)
    assert recorder.error is None
    header, events = read(path)
    assert header == {"reason": 1, **HEADER}
    read_back = list(events)
    assert read_back == seen.events
    assert seen.engine is not None
    assert snapshot(ThreadTree.replay(read_back)) == snapshot(seen.engine.tree)


class Unsure(ScriptedBackend):
    """A model that says how likely its token is, after all, in no number."""

    value = math.nan

    async def generate(
        self, ids: Sequence[int], params: SamplingParams
    ) -> AsyncGenerator[Chunk, None]:
        yield Chunk("ok", (1, 2), (-0.5, -0.0))
        yield Chunk("x", (3,), (self.value,), "eos", usage=Usage(len(ids)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_logprob_that_is_no_number_is_an_error_on_record(tmp_path: Path, value: float) -> None:
    recorder = Recorder(tmp_path / "run.jsonl", HEADER)
    model = Unsure(lambda context, params: "")
    model.value = value
    seen = Run(SelfConsistency(n=2), model, sinks=[recorder])
    done = asyncio.run(seen.go())
    recorder.close()
    assert {thread.finish for thread in done.tree if thread.parent} == {"error"}
    details = [event.detail for event in seen.events if isinstance(event, Closed)]
    assert details[0] == f"the model gave a token the log-probability {value}, not a finite number"
    assert list(read(recorder.path)[1]) == seen.events


def test_a_note_that_is_no_number_is_null_on_record(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl", HEADER)
    recorder(Noted(thread="0", name="score", value=[-math.inf, math.nan, 1.5]))
    recorder.close()
    assert list(read(recorder.path)[1]) == [
        Noted(thread="0", name="score", value=[None, None, 1.5])
    ]
    assert "null" in recorder.path.read_text() and json.loads(lines_of(recorder.path)[1])


def test_closing_twice_and_recording_after_it_do_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl", {})
    recorder.close()
    recorder.close()
    recorder(Opened(thread="0", model="m"))
    assert list(read(recorder.path)[1]) == []


def test_every_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl", {})
    assert list(read(recorder.path)[1]) == []
    events: list[Event] = [
        Opened(thread="0", model="m"),
        Tokens(thread="0", segment=0, origin="prompt", text="Q", at=0.01),
        Tokens(thread="0", segment=1, origin="sampled", text="x" * 100_000, at=0.02),
    ]
    for number, event in enumerate(events, 1):
        recorder(event)
        assert list(read(recorder.path)[1]) == events[:number]
    recorder.close()


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_last_line_cut_short_is_left_out_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    seen, _ = recorded(path)
    whole = path.read_bytes()
    last = len(lines_of(path)[-1])
    for cut in range(1, last + 1):
        path.write_bytes(whole[:-cut])
        assert list(read(path)[1]) == seen.events[:-1], cut


@pytest.mark.parametrize("damage", [b'{"event":"tok\n', b"\n", b"\xff\n", b"[" * 10_000 + b"\n"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "run.jsonl"
    seen, _ = recorded(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:3], damage, *lines[4:]]))
    events = read(path)[1]
    assert [next(events), next(events)] == seen.events[:2]
    with pytest.raises(UsageError) as raised:
        next(events)
    assert str(raised.value).startswith(f"{path}, line 4: not an event (")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello\n", b"[]\n", b"7\n", b'"reason"\n', b"{}\n", b"\xff\n", b"[" * 10**5],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read(path)
    assert str(raised.value) == f"{path} is no recorded run: its first line is not a header"


def test_a_recording_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"reason": 99}\n')
    with pytest.raises(UsageError, match="has recording version 99; this program reads 1"):
        read(path)


def test_a_path_that_cannot_be_read_or_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: No such file or directory"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "run.jsonl"):
        with pytest.raises(UsageError, match=f"cannot record to {path}: "):
            Recorder(path, {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.filterwarnings("error")
def test_a_full_disk_ends_the_recording_and_not_the_run() -> None:
    _, recorder = recorded(Path("/dev/full"))
    assert recorder.error == "recording to /dev/full stopped: No space left on device"
    recorder(Opened(thread="0", model="m"))
    recorder.close()


FILLING = """
import resource, sys
from pathlib import Path
from reason.events import Noted
from reason.record import Recorder

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
recorder = Recorder(Path(sys.argv[1]), {})
for number in range(200):
    recorder(Noted(thread="0", name="number", value=number))
with open(sys.argv[1] + ".other", "wb"):  # may get the file's number; must stay empty
    recorder.close()
print(recorder.error)
"""


def test_a_disk_that_fills_up_leaves_a_recording_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    command = [sys.executable, "-W", "error", "-c", FILLING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"recording to {path} stopped: File too large\n"
    assert done.stderr == ""
    assert path.stat().st_size <= 1000
    events = list(read(path)[1])
    expected: list[Event] = [Noted(thread="0", name="number", value=n) for n in range(len(events))]
    assert events == expected and len(events) > 10
    assert Path(f"{path}.other").stat().st_size == 0


def test_the_form_on_disk(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl", {"seed": 3})
    event = Opened(thread="0", model="policy")
    recorder(event)
    recorder.close()
    header, line = recorder.path.read_bytes().splitlines()
    assert json.loads(header) == {"reason": 1, "seed": 3}
    assert line == to_json(event)
