"""A conversation without a terminal: turns, steering, comparison, recordings, files."""

import asyncio
import json
from pathlib import Path

import pytest

from reason.chat import archive
from reason.chat.heading import heading
from reason.chat.plain import answer_lines
from reason.chat.run import STOPPED, Run
from reason.chat.session import Exchange, Session
from reason.errors import ReasonError, UsageError
from reason.record import read
from reason.types import SamplingParams
from reason.watch import Watch
from tests.chatting import QUESTION, endless, general, session
from tests.oracle import oracle


async def over(exchange: Exchange) -> list[Run]:
    return [await run.over() for run in exchange.runs]


def wrote(thread: str, tokens: int = 20) -> object:
    def true(watch: Watch) -> bool:
        return thread in watch.lines and watch.lines[thread].tokens >= tokens

    return true


def echo(context: str, params: SamplingParams) -> str:
    """Says how many messages it was given, in a box."""
    return f"I was told {context.count('<user>')} things: \\boxed{{{context.count('<user>')}}}"


async def test_a_turn_is_answered_checked_and_on_record(tmp_path: Path) -> None:
    async with session(folder=tmp_path, controller="apr") as chat:
        (run,) = await over(chat.ask(QUESTION))
    assert run.ending and run.ending.verified and run.reply == run.ending.answer
    header, events = read(tmp_path / "turn-1.jsonl")
    assert (header["title"], header["method"], header["model"]) == ("3 5 7 8 = 24", "apr", "oracle")
    *_, last = events
    assert last == run.ending.note()
    lines = answer_lines(chat.exchanges[0])
    assert lines[:2] == [run.ending.answer, "verified"]
    assert "on the critical path" in lines[2] and lines[2].endswith("threads")


async def test_the_conversation_goes_on_with_its_answers() -> None:
    async with session(general(echo), controller="single") as chat:
        for said in ("one", "two"):
            await over(chat.ask(said))
        told = [(m["role"], m["content"]) for m in chat.messages()]
    assert told == [
        ("user", "one"),
        ("assistant", "I was told 1 things: \\boxed{1}"),
        ("user", "two"),
        ("assistant", "I was told 2 things: \\boxed{2}"),
    ]


async def test_what_cannot_be_asked_changes_nothing() -> None:
    async with session(controller="apr") as chat:
        with pytest.raises(UsageError, match="reads Countdown problems only"):
            chat.ask("who are you?")
        with pytest.raises(UsageError, match="nothing was asked"):
            chat.ask(" ")
        assert chat.exchanges == [] and chat.messages() == []
    with pytest.raises(UsageError, match="no model is connected"):
        Session(None).ask("anything")


async def test_one_turn_at_a_time_and_stopping_leaves_nothing_running() -> None:
    backend = general(endless, delay=0.001)
    async with session(backend, controller="self_consistency", n="3") as chat:
        (run,) = chat.ask("?").runs
        await run.until(wrote("0.2"))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="a turn goes on"):
            chat.ask("again?")
        assert backend.running == 3
        await chat.stop()
        assert (backend.running, chat.running) == (0, [])
        assert run.ending and run.ending.error == STOPPED
        assert {line.finish for line in run.watch.lines.values()} == {"cancelled"}


async def test_leaving_stops_what_goes_on() -> None:
    backend = general(endless, delay=0.001)
    async with session(backend, controller="single") as chat:
        await chat.ask("?").runs[0].until(wrote("0"))  # type: ignore[arg-type]
    assert backend.running == 0 and chat.host is None


async def test_steering_by_the_ids_of_threads(tmp_path: Path) -> None:
    backend = general(endless, delay=0.002, chunk=4)
    async with session(backend, tmp_path, controller="self_consistency", n="3") as chat:
        (run,) = chat.ask("?").runs
        await run.until(wrote("0.2"))  # type: ignore[arg-type]
        await run.steer.cancel("0.0")
        script = run.texts.scripts["0.1"]
        kept, at = script.cut_at(script.step(10, 1), run.steer.decode("0.1"))
        made = await run.branch("0.1", " HINT ", kept)
        await run.until(wrote(made))  # type: ignore[arg-type]
        assert await run.steer.pin("0.2", "42") == "42"
        await run.steer.extend({"total_tokens": "4k"})
        for wrong in (run.steer.cancel("0.9"), run.steer.cancel("0.0"), run.steer.pin("0.2")):
            with pytest.raises(ReasonError):
                await wrong
        with pytest.raises(UsageError, match="cannot be forked there"):
            await run.branch("0.1", "", 10**6)
        await run.over()
    assert run.watch.lines["0.0"].finish == "cancelled"
    assert made == "0.1.0" and run.texts.scripts[made].kept == kept
    assert at > 10 and run.texts.scripts[made].text.startswith(" HINT ")
    assert run.ending and (run.ending.answer, run.ending.limit) == ("42", "total_tokens")
    named = {(note.thread, note.name) for note in run.timeline.decisions}
    assert {("0", "budget"), ("0.2", "pinned"), (made, "hint")} <= named


async def test_a_turn_that_is_over_can_be_forked_and_is_recorded_once_more(tmp_path: Path) -> None:
    async with session(folder=tmp_path, controller="apr") as chat:
        (run,) = await over(chat.ask(QUESTION))
        first = (tmp_path / "turn-1.jsonl").read_bytes()
        made = await run.branch("0.0", "")
        assert chat.running == [run]
        await run.idle()
        assert run.watch.lines[made].finish and run.problem is None
    assert (tmp_path / "turn-1.jsonl").read_bytes() == first
    _, events = read(tmp_path / "turn-1-2.jsonl")
    again = list(events)
    assert made in {event.thread for event in again}
    assert run.ending and again[-1] == run.ending.note()


async def test_what_is_branched_off_an_ended_turn_counts_and_the_pause_before_does_not() -> None:
    def endless_with_a_hint(context: str, params: SamplingParams) -> str:
        return "on " * 2000 if "HINT" in context else "short"

    backend = general(endless_with_a_hint, delay=0.02)
    async with session(backend, controller="single") as chat:
        (run,) = await over(chat.ask("?"))
        before = dict(run.figures)
        await asyncio.sleep(1.0)
        made = await run.branch("0", " HINT ")
        line = run.watch.lines[made]
        while not run.timeline.rate(line):
            await asyncio.sleep(0.05)
            run.timeline.measure(run.now)
        assert run.running and 1.0 <= run.seconds < run.now - 1.0
        assert heading(run, "", 99).endswith(f"1/2 threads · path {line.clock:,}")
        await chat.stop()
    assert run.figures["total_tokens"] == run.watch.tokens > before["total_tokens"]
    assert run.figures["threads"] == 2 and run.figures["seconds"] == run.seconds
    assert run.figures["seconds"] < run.now - 1.0


async def test_two_methods_are_compared_on_one_question() -> None:
    async with session(controller="apr") as chat:
        await over(chat.ask(QUESTION))
        pair = chat.compare([{"controller": "apr", "width": "4"}, {"controller": "single"}])
        one, other = await over(pair)
        assert (one.method, other.method, pair.said) == ("apr", "single", QUESTION)
        assert len(one.watch.lines) > 1 and len(other.watch.lines) == 1
        assert len(chat.messages()) == 2, "the comparison stands beside the conversation"
        table = answer_lines(pair)[-7:]
        assert table[0].split() == ["apr", "single"]
        assert table[2].split()[2:] == [f"{run.figures['critical_path']:,}" for run in (one, other)]
        own = chat.compare([{"controller": "single"}, {"controller": "apr"}], "3 5 7 9 = 24")
        await over(own)
        assert own.said == "3 5 7 9 = 24" and not own.beside


async def test_nothing_to_compare() -> None:
    async with session() as chat:
        with pytest.raises(UsageError, match="nothing was asked yet"):
            chat.compare([{"controller": "apr"}, {"controller": "single"}])


async def test_a_conversation_is_kept_and_comes_back_with_its_trees(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "chat.jsonl"
    async with session(controller="apr", budget={"total_tokens": "4k"}) as chat:
        await over(chat.ask(QUESTION))
        await over(chat.compare([{"controller": "apr"}, {"controller": "single"}]))
        archive.save(chat, file)
        told, before = chat.messages(), [run for each in chat.exchanges for run in each.runs]
    async with session() as other:
        await archive.load(other, file)
        assert other.messages() == told
        assert other.settings == {"controller": "apr", "budget": {"total_tokens": "4k"}}
        after = [run for each in other.exchanges for run in each.runs]
        for one, two in zip(before, after, strict=True):
            assert one.texts.scripts.keys() == two.texts.scripts.keys()
            assert all(s.text == two.texts.scripts[n].text for n, s in one.texts.scripts.items())
            assert {**one.figures, "warnings": []} == two.figures
            assert one.watch.winners == two.watch.winners
        with pytest.raises(UsageError, match="a recording"):
            await after[0].steer.cancel("0")
        (more,) = await over(other.ask("3 5 7 9 = 24"))
        assert more.ending is not None and len(other.exchanges) == 3


DAMAGED = {
    "": "its first line is not a header",
    "{}\n": "its first line is not a header",
    '{"chat": 1}\n': "its first line is not a header",
    '{"chat": 1, "settings": {}}\n{"said': "its last line is cut short",
    '{"chat": 1, "settings": {}}\nnothing\n': "line 2: not JSON",
    '{"chat": 1, "settings": {}}\n[]\n': "line 2: not an object",
    '{"chat": 1, "settings": {}}\n{"said": "?"}\n': r"nothing answers '\?'",
    '{"chat": 1, "settings": {}}\n{"event": "closed"}\n': "line 2: what belongs to no turn",
    '{"chat": 1, "settings": {}}\n{"said": "?"}\n{"reason": 1}\n{"event": "x"}\n': "line 4: not an",
    '{"chat": 1, "settings": {}}\n{"said": "?"}\n{"reason": 1}\n'
    '{"event": "closed", "thread": "0", "finish": "eos"}\n': "the recording is damaged",
    '{"reason": 1}\n': "/replay plays it",
}


@pytest.mark.parametrize("text", DAMAGED)
async def test_a_damaged_file_is_an_error_and_nothing_is_lost(tmp_path: Path, text: str) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(text)
    async with session(controller="apr") as chat:
        await over(chat.ask(QUESTION))
        exchanges, settings = chat.exchanges, chat.settings
        with pytest.raises(UsageError, match=DAMAGED[text]):
            await archive.load(chat, file)
        assert (chat.exchanges, chat.settings) == (exchanges, settings)


async def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    async with session() as chat:
        with pytest.raises(UsageError, match="cannot write"):
            archive.save(chat, tmp_path / "file" / "chat.jsonl")
        archive.save(chat, tmp_path / "chat.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat.jsonl", "file"]
    assert json.loads((tmp_path / "chat.jsonl").read_text())["model"] == "oracle"


async def test_a_recording_that_was_cut_is_replayed_as_far_as_it_goes(tmp_path: Path) -> None:
    async with session(oracle(delay=0.001), tmp_path, controller="apr") as chat:
        await over(chat.ask(QUESTION))
        whole = (tmp_path / "turn-1.jsonl").read_bytes().splitlines(keepends=True)
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(b"".join(whole[: len(whole) // 2]) + whole[-1][:20])
        (run,) = await over(chat.replay(cut, speed=0))
        assert run.ending and run.ending.error == "the recording stops before the run does"
        assert run.title == "3 5 7 8 = 24" and not run.watch.alive and len(run.watch.lines) > 1
        assert len(chat.messages()) == 2, "what is played back is no part of the conversation"
        (slow,) = chat.replay(tmp_path / "turn-1.jsonl", speed=1e-3).runs
        await slow.until(lambda watch: bool(watch.lines))
        await chat.stop()
        assert slow.ending and slow.ending.error == STOPPED and slow.watch.alive == 0
        with pytest.raises(UsageError, match="no recorded run"):
            chat.replay(Path(__file__))
