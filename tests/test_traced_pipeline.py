"""Chains on their way to examples: each step, what is dropped and why, going on after a kill."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from eval.jsonl import JsonLines
from reason.errors import BackendError, UsageError
from reason.types import SamplingParams
from rl.traced.chain import Chain, read_chains
from rl.traced.done import STEPS, Done
from rl.traced.example import requests_in
from rl.traced.options import Options
from rl.traced.progress import ProgressLine
from rl.traced.wellformed import read_blocks
from tests.traced import LONG, chain, examples, make, rows, teach, write

DIAMOND = [(), (1,), (1,), (2, 3)]
LINE = [(), (1,), (2,), (3,)]


def chains(tmp_path: Path, *given: dict[str, Any]) -> list[Chain]:
    return read_chains(write(tmp_path / "chains.jsonl", given))


def replacing(old: str, new: str, kind: str = "") -> Any:
    """A teacher that says something else in answers to one kind of question."""

    def script(context: str, params: SamplingParams) -> str:
        answer = teach(context, params)
        return answer.replace(old, new) if f"<{kind}>" in answer or not kind else answer

    return script


def test_a_chain_becomes_an_example(tmp_path: Path) -> None:
    given = chains(tmp_path, chain("a", DIAMOND), chain("b", LINE))
    found, pipeline = make(given, tmp_path / "out")
    assert pipeline.kept == ["a", "b"] and pipeline.failed == []
    one, two = examples(tmp_path / "out")
    assert (one.kind, two.kind) == ("parallel", "sequential")
    text = "".join(piece.text for piece in one.lines[0].pieces)
    [block] = read_blocks(text)
    assert block.outlines == ("do what part 1 is about", "do what part 2 is about")
    assert [thread[:14] for thread in block.threads] == ["As above, we d", "We do part 3 o"]
    assert text.startswith("<think>\nWe do part 1") and text.endswith("So it is \\boxed{7}.")
    assert text.index("</Parallel>") < text.index("part 4")
    assert len(requests_in(one)) == 4 and len(requests_in(two)) == 1
    assert next(two.texts())[1] == given[1].text  # letter by letter
    assert found.passed == {"chain": 2, "analysis": 2, "outlines": 1, "rewriting": 1, "filter": 2}
    assert (found.examples, found.parallel, found.sequential, found.dropped) == (2, 1, 1, {})
    assert found.tokens == one.figures.tokens + two.figures.tokens
    assert found.acceleration_parallel == pytest.approx(one.figures.acceleration)
    assert 0 < found.acceleration < found.acceleration_parallel < 1
    assert found.parallel_share == pytest.approx(one.figures.parallel / found.tokens)
    assert found.teacher_requests == 4 and found.teacher_sampled_tokens > 0
    assert json.loads((tmp_path / "out" / "statistics.json").read_text())["examples"] == 2


@pytest.mark.parametrize(
    ("changes", "script", "reason"),
    [
        ({"answer": "8"}, teach, "chain: wrong answer"),
        ({"chain": "one paragraph \\boxed{7}"}, teach, "chain: nothing to divide"),
        ({"chain": "a\n\n<Thread>\n\n\\boxed{7}"}, teach, "chain: tags in the chain"),
        ({}, replacing("<steps>", "<stop>"), "analysis: unparsable"),
        ({}, replacing("S1\n", "S1 of course\n"), "analysis: unparsable"),
        ({}, replacing("S4: 4", "S4: 5"), "analysis: out of range"),
        ({}, replacing("S4: 4", "S5: 4"), "analysis: step numbers"),
        ({}, replacing("none", "S4"), "analysis: cycle"),
        ({}, replacing("2: ", "3: ", "outlines"), "outlines: outline numbers"),
        ({}, replacing("is about", "</Outline>", "outlines"), "outlines: tags in an outline"),
        ({}, replacing("is about", "finds 99", "outlines"), "outlines: outline tells a result"),
        ({}, replacing(">We<", "><Thread><", "edits"), "rewriting: tags in a thread"),
        ({}, replacing(">As above", ">Likewise", "edits"), "rewriting: not in the thread"),
        ({}, lambda c, p: "<think>" + "x" * 99_999, "analysis: cut off"),
    ],
)
def test_why_a_chain_is_dropped(
    tmp_path: Path, changes: dict[str, Any], script: Any, reason: str
) -> None:
    given = chains(tmp_path, chain("a", DIAMOND, **changes), chain("fine", LINE))
    if script is not teach:
        given = given[:1]
    found, pipeline = make(given, tmp_path / "out", script)
    assert found.dropped == {reason: 1}
    assert (
        [one.id for one in examples(tmp_path / "out")]
        == pipeline.kept
        == (["fine"] if script is teach else [])
    )


def test_a_thread_that_is_rewritten_too_much(tmp_path: Path) -> None:
    start, end = "<edit><old>As above, we", "<new>We</new>"
    script = replacing(
        f"{start}</old>{end}",
        f"<edit><old>{LONG}</old><new></new></edit><edit><old>uses</old>{end}",
    )
    given = chains(tmp_path, chain("a", DIAMOND))
    found, _ = make(given, tmp_path / "out", script)
    assert found.dropped == {"rewriting: changed too much": 1}
    loose = Options(tokenizer="teacher", similarity=0.1)
    found, _ = make(given, tmp_path / "loose", script, options=loose)
    assert found.parallel == 1


TWO = [(), (1,), (1,), (2, 3), (4,), (4,), (5, 6)]


@pytest.mark.parametrize("kind", ["outlines", "edits"])
def test_a_block_that_fails_leaves_the_others(tmp_path: Path, kind: str) -> None:
    """One of two blocks cannot be had; with both gone, there is nothing to learn."""

    def script(context: str, params: SamplingParams) -> str:
        answer = teach(context, params)
        asked = re.search(r"^<part[^>]*>\n.*part [56] of a", context, re.MULTILINE)
        return "no" if f"<{kind}>" in answer and asked else answer

    given = chains(tmp_path, chain("a", TWO))
    whole, _ = make(given, tmp_path / "whole")
    dropped, _ = make(given, tmp_path / "dropped", script)
    step = "outlines" if kind == "outlines" else "rewriting"
    assert dropped.dropped == {f"{step}: unparsable": 1}
    left = Options(tokenizer="teacher", block_fails="sequential")
    kept, _ = make(given, tmp_path / "kept", script, options=left)
    assert (whole.blocks, kept.blocks, kept.dropped) == (2, 1, {})
    [one] = examples(tmp_path / "kept")
    text = "".join(piece.text for piece in one.lines[0].pieces)
    rest = given[0].text[given[0].text.index("part 4") :]
    assert text.endswith(rest) and text.count("<Parallel>") == 1
    none, _ = make(given, tmp_path / "none", replacing(f"<{kind}>", "no", kind), options=left)
    assert none.dropped == {f"{step}: unparsable": 1}


def test_an_answer_within_a_thread_is_none(tmp_path: Path) -> None:
    whole = chain("a", [*DIAMOND, (4,)])["chain"].partition("\n</think>")[0]
    late = whole.replace("do part 3", "say \\boxed{7} in part 3")
    found, _ = make(chains(tmp_path, chain("a", [], chain=late)), tmp_path / "out")
    assert found.dropped == {"filter: no answer at the end": 1}


def test_limits_of_length_gain_and_share(tmp_path: Path) -> None:
    given = chains(tmp_path, chain("a", DIAMOND), chain("b", LINE), chain("c", LINE))
    for name, options, dropped in (
        ("tokens", Options(tokenizer="teacher", longest=900), {"filter: too long": 3}),
        ("words", Options(longest=900), {}),
        ("gain", Options(acceleration=0.9), {"filter: too little gained": 1}),
        ("some", Options(acceleration=0.1), {}),
        ("none", Options(sequential=0.0), {"filter: without a block": 2}),
    ):
        found, _ = make(given, tmp_path / name, options=options)
        assert found.dropped == dropped
        assert found.unit == ("tokens" if options.tokenizer else "words")


def test_a_share_of_chains_without_blocks(tmp_path: Path) -> None:
    wider = chains(tmp_path, *(chain(f"q{n}", LINE) for n in range(40)))
    half, _ = make(wider, tmp_path / "half", options=Options(sequential=0.5))
    assert 8 < half.sequential < 32
    more, pipeline = make(wider, tmp_path / "more", options=Options(sequential=0.75))
    assert {one.id for one in examples(tmp_path / "half")} <= set(pipeline.kept)
    assert more.sequential > half.sequential


def test_questions_of_evaluations_are_left_out(tmp_path: Path) -> None:
    words = "the sum of all the odd numbers below one hundred and what else there is"
    given = chains(
        tmp_path,
        chain("same", LINE, prompt="What, then, is IT?"),
        chain("holds", LINE, prompt=f"Well: find {words} for me"),
        chain("chain", LINE, chain=f"a (uses none)\n\nb {words} (uses 1)\n\nso \\boxed{{7}}"),
        chain("near", LINE, prompt=f"find {' '.join(words.split()[:12])} something"),
        chain("other", LINE),
    )
    against = [("t/1", "what then is it"), ("t/2", f"Compute {words}.")]
    found, pipeline = make(given, tmp_path / "out", against=against)
    assert found.dropped == {"chain: asked in an evaluation": 3}
    assert pipeline.kept == ["near", "other"] and found.questions == 2
    [row] = [row for row in steps(tmp_path / "out") if row.id == "holds"]
    assert (row.step, row.detail) == ("chain", "t/2")
    without, _ = make(given, tmp_path / "without")
    assert without.examples == 5


def steps(folder: Path) -> list[Done]:
    lines = (folder / "steps.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Done) for line in lines]


def test_a_teacher_is_told_what_was_wrong(tmp_path: Path) -> None:
    complaints: list[str] = []

    def slow(context: str, params: SamplingParams) -> str:
        _, told, complaint = context.rpartition("That cannot be used: ")
        if "<reasoning>" in context and told:
            complaints.append(complaint)
        wrong = "<reasoning>" in context and len(complaints) < 2
        return teach(context, params).replace("S2", "S9") if wrong else teach(context, params)

    given = chains(tmp_path, chain("a", DIAMOND))
    found, _ = make(given, tmp_path / "out", slow)
    assert found.examples == 1 and found.teacher_requests == 5
    assert len(complaints) == 2 and complaints[0].startswith("step numbers: S9 stands where S2")
    complaints.clear()
    once = Options(tokenizer="teacher", tries=1)
    found, _ = make(given, tmp_path / "once", slow, options=once)
    assert found.dropped == {"analysis: step numbers": 1}


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("examples.jsonl", "statistics.json")}


def noisy(context: str, params: SamplingParams) -> str:
    """A teacher that errs now and then, by the seed of the request."""
    answer = teach(context, params)
    return answer if (params.seed or 0) % 3 else answer[:-20]


def test_the_same_at_any_concurrency_and_another_by_seed(tmp_path: Path) -> None:
    given = chains(tmp_path, *rows(25))
    found = {}
    for concurrency, seed in ((1, 0), (7, 0), (30, 0), (7, 1)):
        out = tmp_path / f"{concurrency}-{seed}"
        make(given, out, noisy, concurrency=concurrency, seed=seed)
        found[concurrency, seed] = files(out)
    assert found[1, 0] == found[7, 0] == found[30, 0] != found[7, 1]


def test_a_killed_run_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    file = write(tmp_path / "chains.jsonl", rows(30))
    make(read_chains(file), tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.traced", str(file), str(out), "0.02"]
    for least in (10, 40):
        running = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        began = time.monotonic()
        while running.poll() is None and time.monotonic() - began < 60:
            file_of_steps = out / "steps.jsonl"
            if file_of_steps.exists() and file_of_steps.read_bytes().count(b"\n") >= least:
                break
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    with (out / "steps.jsonl").open("ab") as damaged:
        damaged.write(b'{"id":"q1","step":"ana')  # as a power cut may leave it
    with (out / "examples.jsonl").open("ab") as damaged:
        damaged.write(b'{"id":')
    fresh: list[Done] = []
    before = [row for row in (out / "steps.jsonl").read_bytes().split(b"\n")[:-1] if row]
    make(read_chains(file), out, steps=fresh)
    assert files(out) == files(tmp_path / "whole")
    assert len(before) >= 40 and fresh
    assert max(Counter((row.id, row.step) for row in steps(out)).values()) == 1
    assert len(steps(out)) == len(before) + len(fresh)
    again: list[Done] = []
    make(read_chains(file), out, steps=again)
    assert again == [] and files(out) == files(tmp_path / "whole")


def test_more_chains_are_added_and_changed_ones_refused(tmp_path: Path) -> None:
    given = rows(8)
    file = tmp_path / "chains.jsonl"
    make(read_chains(write(file, given[:3])), tmp_path / "out")
    found, pipeline = make(read_chains(write(file, given)), tmp_path / "out")
    assert found.items == 8 and pipeline.kept == [row["id"] for row in given]
    given[1]["chain"] += "!"
    with pytest.raises(UsageError, match="'q1' has changed since"):
        make(read_chains(write(file, given)), tmp_path / "out")
    with pytest.raises(UsageError, match=r"made in another way; what differs: seed is 0 there, 1"):
        make(read_chains(write(file, rows(8))), tmp_path / "out", seed=1)


def test_what_fails_is_asked_again_and_what_is_refused_is_not(tmp_path: Path) -> None:
    given = chains(tmp_path, *(chain(f"q{n}", DIAMOND) for n in range(4)))

    def failing(context: str, params: SamplingParams) -> str:
        if "of q2" in context and "<outlines>" in teach(context, params):
            raise BackendError("out of memory")
        return teach(context, params)

    found, pipeline = make(given, tmp_path / "out", failing)
    assert found.examples == 3 and found.dropped == {}
    assert [line.partition(":")[0] for line in pipeline.failed] == ["q2"]
    fresh: list[Done] = []
    found, pipeline = make(given, tmp_path / "out", steps=fresh)
    assert [(row.id, row.step) for row in fresh] == [("q2", step) for step in STEPS[2:]]
    assert [one.id for one in examples(tmp_path / "out")] == ["q0", "q1", "q2", "q3"]


def test_a_teacher_that_is_gone_ends_it(tmp_path: Path) -> None:
    def gone(context: str, params: SamplingParams) -> str:
        raise BackendError("connection refused")

    given = chains(tmp_path, *(chain(f"q{n}", DIAMOND) for n in range(40)))
    with pytest.raises(BackendError, match=r"failed for 20 chains in a row.*connection refused"):
        make(given, tmp_path / "out", gone, concurrency=2)
    assert {row.step for row in steps(tmp_path / "out")} == {"chain"}
    found, _ = make(given, tmp_path / "out")
    assert found.examples == 40


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        JsonLines[Done](tmp_path / "out" / "steps.jsonl"),
        pytest.raises(UsageError, match="another process is writing"),
    ):
        make(chains(tmp_path, chain("a", LINE)), tmp_path / "out")


@pytest.mark.parametrize(
    ("field", "value"),
    [("gram", 1), ("tries", 0), ("longest", 0), ("each", -1), ("similarity", 1.5),
     ("sequential", -0.1), ("acceleration", 2.0)],
)  # fmt: skip
def test_options_that_cannot_be(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be"):
        Options(**{field: value})  # type: ignore[arg-type]


def test_a_line_tells_how_it_stands(tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    fresh: list[Done] = []
    given = chains(tmp_path, chain("a", DIAMOND), chain("b", LINE, answer="8"))
    make(given, tmp_path / "out", steps=fresh)
    with ProgressLine(screen, "traces", 2) as line:
        for row in fresh:
            line(row)
    written = sum(row.sampled_tokens for row in fresh)
    assert line.status == f"1 kept · 1 dropped · {written:,} tokens written"
    assert isinstance(screen.file, io.StringIO) and "2/2" in screen.file.getvalue()


def test_a_file_in_order_is_left_as_it_is(tmp_path: Path) -> None:
    given = chains(tmp_path, *rows(6))
    make(given, tmp_path / "out")
    before = (tmp_path / "out" / "examples.jsonl").stat().st_ino
    make(given, tmp_path / "out")
    assert (tmp_path / "out" / "examples.jsonl").stat().st_ino == before
    make(given[::-1], tmp_path / "out")
    assert [one.id for one in examples(tmp_path / "out")] == [one.id for one in given[::-1]]
    with pytest.raises(UsageError, match="begun with 4 chains more, such as 'q2': give these too"):
        make(given[:2], tmp_path / "out")
    assert len(examples(tmp_path / "out")) == 6
