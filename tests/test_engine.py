"""The verbs, each on real threads of a scripted model."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from reason.backends.scripted import LOGPROB, ScriptedBackend
from reason.engine import Engine, Scorer
from reason.errors import ThreadCancelled, ThreadStateError, Unsupported, UsageError
from reason.types import Prompt, Result, SamplingParams, Segment, Thread
from tests.runs import Method, Run, run, snapshot

PLAIN = SamplingParams()


def says(text: str) -> ScriptedBackend:
    return ScriptedBackend(lambda context, params: text)


def test_open_and_generate() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        segment = await engine.generate(root, PLAIN)
        return Result(segment.text, root.id)

    done = run(body, says("twelve chars"), prompt="Q: ")
    ids = [ord(c) for c in "twelve chars"]
    root = done.tree.root
    assert root.segments == [
        Segment("prompt", "Q: ", [81, 58, 32]),
        Segment("sampled", "twelve chars", ids, [LOGPROB] * 12, "eos"),
    ]
    assert (root.clock, root.length, root.finish, root.text) == (12, 15, "eos", "twelve chars")
    assert done.account() == {
        "answer": "twelve chars",
        "thread": "0",
        "controller": "method",
        "critical_path": 12,
        "total_tokens": 12,
        "longest_sequence": 15,
        "prompt_tokens": 3,
        "cached_tokens": 0,
        "threads": 1,
        "peak_threads": 1,
        "seconds": done.ledger.seconds,
        "ttft": done.ledger.ttft,
        "limit": None,
        "error": None,
    }
    assert done.ledger.ttft is not None and done.ledger.ttft <= done.ledger.seconds


def test_a_parent_that_goes_on_goes_before_its_children() -> None:
    seen: list[tuple[str, int]] = []

    def script(context: str, params: SamplingParams) -> str:
        seen.append((context, params.priority))
        return "."

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, PLAIN.but(priority=2))
        child = engine.spawn(root, "child")
        await engine.map(lambda thread: engine.generate(thread, PLAIN), [child])
        await engine.generate(root, PLAIN.but(priority=2))
        after = engine.fork(root, 1, continues=True)
        await engine.generate(after, PLAIN)
        return Result(None, after.id)

    run(body, ScriptedBackend(script), prompt="root")
    assert seen == [("root", 2), ("child", 0), ("root.", 3), ("r", 1)]


def test_fork_sees_the_parent_and_spawn_does_not() -> None:
    seen: dict[str, list[str]] = {"policy": [], "judge": []}

    def listening(role: str) -> ScriptedBackend:
        def script(context: str, params: SamplingParams) -> str:
            seen[role].append(context)
            return "ok"

        return ScriptedBackend(script)

    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        engine.append(root, " and more")
        threads = [
            engine.fork(root),
            engine.fork(root, 4),
            engine.spawn(root, "afresh"),
            engine.spawn(root, "elsewhere", "judge"),
        ]
        for thread in threads:
            await engine.generate(thread, PLAIN)
        engine.join(root, threads)
        return Result(None, threads[-1].id)

    done = run(body, listening("policy"), prompt="Q", others={"judge": listening("judge")})
    assert seen == {"policy": ["Q and more", "Q an", "afresh"], "judge": ["elsewhere"]}
    assert [t.id for t in done.tree] == ["0", "0.0", "0.1", "0.2", "0.3"]
    assert [t.kept for t in done.tree] == [0, 10, 4, 0, 0]
    assert [t.model for t in done.tree] == ["policy"] * 4 + ["judge"]
    assert (done.tree.critical_path, done.ledger.total_tokens) == (2, 8)
    assert done.ledger.peak_threads == 5


def test_a_fork_goes_on_from_the_clock_of_its_parent() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        await engine.generate(root, PLAIN.but(max_tokens=3))
        first, second = engine.fork(root), engine.fork(root)
        await engine.generate(first, PLAIN.but(max_tokens=5))
        await engine.generate(second, PLAIN.but(max_tokens=2))
        engine.join(root, [second])  # the first is not waited for
        await engine.generate(root, PLAIN.but(max_tokens=1))
        engine.join(root, [])
        return Result(None, root.id)

    done = run(body, says("x" * 50))
    assert [t.clock for t in done.tree] == [6, 8, 5]
    assert [s.finish for s in done.tree.root.segments] == [None, "length", "length"]


def test_append_copies_segments_token_for_token() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        child = engine.spawn(root, "child ")
        await engine.generate(child, PLAIN)
        engine.append(root, child.segments)
        engine.append(root, "!")
        return Result(None, root.id)

    root = run(body, says("said")).tree.root
    assert [(s.origin, s.text) for s in root.segments] == [
        ("prompt", "Q"),
        ("injected", "child "),
        ("injected", "said"),
        ("injected", "!"),
    ]
    assert root.segments[2].ids == [ord(c) for c in "said"]
    assert root.segments[2].logprobs == []
    assert root.clock == 0


@pytest.mark.parametrize(("character", "tokens"), [(0, 0), (1, 0), (4, 1), (5, 1), (8, 2), (99, 3)])
def test_locate_counts_whole_tokens_before_a_character(character: int, tokens: int) -> None:
    def body(engine: Engine) -> int:
        root = engine.open("the prompt")
        engine.append(root, "abc def ghi")
        return engine.locate(root, character)

    words = ScriptedBackend(lambda c, p: "", words=True)
    assert body(Engine({"policy": words})) == 2 + tokens
    assert body(Engine({"policy": says("")})) == 10 + min(character, 11)


async def test_score_goes_to_the_model_asked() -> None:
    class Judge(ScriptedBackend):
        async def score(self, ids: Sequence[int], start: int) -> list[float]:
            return [float(i) for i in ids[start:]]

    others = {"policy": says("abc"), "judge": Judge(lambda c, p: "")}
    engine = Engine({**others, "words": ScriptedBackend(lambda c, p: "", words=True)})
    root = engine.open("Q")
    await engine.generate(root, PLAIN)
    assert await engine.score(root) == [LOGPROB] * 3
    assert await engine.score(root, "judge") == [97.0, 98.0, 99.0]
    with pytest.raises(Unsupported, match="scripted cannot score token ids of scripted: their tok"):
        await engine.score(root, "words")


async def test_rate_takes_plain_and_awaitable_scorers() -> None:
    async def slowly(thread: Thread, answer: str | None) -> float:
        await asyncio.sleep(0)
        return 2.0

    scorers: dict[str, Scorer] = {
        "length": lambda thread, answer: float(len(answer or "")),
        "slowly": slowly,
    }
    engine = Engine({"policy": says("")}, scorers=scorers)
    root = engine.open("Q")
    assert await engine.rate(root, "four", "length") == 4.0
    assert await engine.rate(root, None, "slowly") == 2.0
    with pytest.raises(UsageError, match="no scorer is called 'taste'; there is: length, slowly"):
        await engine.rate(root, None, "taste")


def test_notes_are_kept_in_order() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        engine.note(root, "vote", {"7": 2})
        engine.note(engine.fork(root), "score", 0.5)
        return Result(None, root.id)

    notes = run(body, says("")).tree.notes
    assert [(n.thread, n.name, n.value) for n in notes] == [
        ("0", "vote", {"7": 2}),
        ("0.0", "score", 0.5),
    ]


def test_what_cannot_be_done_says_so() -> None:
    engine = Engine({"policy": says("")})
    with pytest.raises(UsageError, match="no model has the role 'judge'; there is: policy"):
        engine.open("Q", "judge")
    with pytest.raises(UsageError, match="the prompt is empty"):
        engine.open("")
    assert len(engine.tree) == 0
    root = engine.open("Q")
    with pytest.raises(ValueError, match="one root"):
        engine.open("Q")
    for kept in (0, 2, -1):
        with pytest.raises(ValueError, match=rf"kept must be in 1\.\.1, got {kept}"):
            engine.fork(root, kept)
    assert [t.id for t in engine.tree] == ["0"]


def test_close_ends_what_is_open_below_and_keeps_reasons() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        child = engine.fork(root)
        grandchild = engine.fork(child)
        await engine.generate(grandchild, PLAIN.but(max_tokens=2))
        failed = engine.fork(child)
        engine.close(failed, "error", "out of luck")
        engine.close(child)
        engine.close(child, "error")
        return Result(None, root.id)

    seen = Run(body, says("xxxx"))
    asyncio.run(seen.go())
    assert [t.finish for t in seen.engine.tree] == ["eos", "eos", "length", "error"]  # type: ignore[union-attr]


async def test_one_request_at_a_time_and_none_after_the_end() -> None:
    engine = Engine({"policy": says("x" * 40)})
    root = engine.open("Q")
    first = asyncio.create_task(engine.generate(root, PLAIN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for verb in (engine.generate(root, PLAIN), engine.score(root)):
        with pytest.raises(ThreadStateError, match="thread 0 is busy"):
            await verb
    assert (await first).text == "x" * 40
    assert (await engine.generate(root, PLAIN)).finish == "eos"
    engine.close(root)
    with pytest.raises(ThreadStateError, match="thread 0 has ended"):
        await engine.generate(root, PLAIN)
    assert (await engine.generate(engine.fork(root), PLAIN)).text == "x" * 40


@pytest.mark.parametrize("turns", [1, 4])  # before the first chunk, and between two
async def test_nothing_is_added_to_a_thread_that_is_written_or_over(turns: int) -> None:
    engine = Engine({"policy": says("SAMPLED" * 4)})
    root = engine.open("Q")
    request = asyncio.create_task(engine.generate(root, PLAIN))
    for _ in range(turns):
        await asyncio.sleep(0)
    with pytest.raises(ThreadStateError, match="thread 0 is busy: one request at a time"):
        engine.append(root, "[injected]")
    await request
    engine.append(root, "!")
    engine.close(root)
    with pytest.raises(ThreadStateError, match="thread 0 has ended; a fork of it can go on"):
        engine.append(root, "too late")
    assert [(s.origin, s.text) for s in root.segments] == [
        ("prompt", "Q"),
        ("sampled", "SAMPLED" * 4),
        ("injected", "!"),
    ]


def test_nothing_is_added_to_a_thread_that_was_told_to_stop() -> None:
    engine = Engine({"policy": says("")})
    child = engine.fork(engine.open("Q"))
    engine.cancel(child)
    with pytest.raises(ThreadCancelled, match=r"thread 0\.0 was cancelled"):
        engine.append(child, "more")
    assert child.segments == []


def test_stop_strings_and_limits_reach_the_model_and_the_segment() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        root = engine.open(prompt)
        for params in (
            PLAIN.but(stop=("</a>", "zz")),
            PLAIN.but(max_tokens=2),
            PLAIN.but(max_tokens=0),
            PLAIN.but(stop_token_ids=(ord("b"),)),
        ):
            await engine.generate(root, params)
        return Result(None, root.id)

    segments = run(body, says("ab</a>cd")).tree.root.segments[1:]
    assert [(s.text, s.finish, s.stopped_at) for s in segments] == [
        ("ab</a>", "stop", "</a>"),
        ("ab", "length", None),
        ("", "length", None),
        ("ab", "stop", None),
    ]


def test_a_run_says_which_method_ran_with_which_knobs() -> None:
    async def body(engine: Engine, prompt: Prompt) -> Result:
        return Result("a", engine.open(prompt).id, {"more": 1})

    done = run(Method(body), says(""), prompt="P")
    expected: dict[str, Any] = {"name": "method", "body": body}
    assert (done.controller, done.prompt, done.result) == (
        expected,
        "P",
        Result("a", "0", {"more": 1}),
    )
    assert snapshot(done.tree)[0][0][0] == "0"
