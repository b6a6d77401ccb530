"""ThreadWeaver: what is sent to the model and what is spliced, to the token."""

import json
import random
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from controllers.grammar import ThreadFormat
from controllers.syntax import syntax_of
from controllers.threadweaver import ThreadWeaver
from eval.countdown import Problem, generate
from eval.tasks import countdown_item
from reason.backends.connect import connect
from reason.backends.scripted import ScriptedBackend
from reason.ledger import Budget
from reason.run import Trajectory, solve
from reason.types import Result, SamplingParams
from rl.weaving import woven
from tests.console import reason
from tests.driving import run as drive
from tests.oracle import oracle
from tests.runs import run

WEAVE = ThreadWeaver(sampling=SamplingParams(temperature=0.0, max_tokens=500))
FINAL = "</Parallel>\nso \\boxed{7}"
TAGS = syntax_of("tags").threads
GREEDY = SamplingParams(temperature=0.0, max_tokens=1500)


def outlines(*numbers: object) -> str:
    inside = "".join(f"<Outline>{n}: part {n}</Outline>\n" for n in numbers)
    return f"Two parts.<Parallel>\n<Outlines>\n{inside}</Outlines>"


def weaver(block: str, threads: dict[str, str]) -> ScriptedBackend:
    """Writes `block` first, what `threads` has for a number, and FINAL where all is joined."""

    def script(context: str, params: SamplingParams) -> str:
        _, _, said = context.partition("</user>")
        if not said:
            return block + "never read"
        _, _, header = said.rpartition("<Thread>\n")
        if header.endswith(":"):
            return threads[header[:-1]]
        return FINAL

    return ScriptedBackend(script, chunk=16)


def said(done: Trajectory) -> str:
    """All that the root holds behind the prompt."""
    return done.tree.root.text


def test_outlines_are_forked_and_threads_spliced() -> None:
    block = outlines(1, 2)
    done = run(WEAVE, weaver(block, {"1": " one\n</Thread>", "2": " two, longer\n</Thread> x"}))
    assert done.result == Result("7", "0")
    joined = "\n<Thread>\n1: one\n</Thread><Thread>\n2: two, longer\n</Thread>\n"
    assert said(done) == block + joined + FINAL
    assert [t.id for t in done.tree] == ["0", "0.0", "0.1"]
    asked = done.tree.root.segments[0].text
    for child, number in ((done.tree["0.0"], 1), (done.tree["0.1"], 2)):
        header = f"\n<Thread>\n{number}:"
        sent = done.tree.root.ids[: child.kept]
        assert "".join(map(chr, sent)) == asked + block
        assert [s.text for s in child.segments if s.origin == "injected"] == [header]
    sampled = [s.text for s in done.tree.root.segments if s.origin == "sampled"]
    assert sampled == [block, FINAL]
    longest = len(" two, longer\n</Thread>")
    assert done.tree.critical_path == len(block) + longest + len(FINAL)
    assert done.ledger.total_tokens == len(block) + len(" one\n</Thread>") + longest + len(FINAL)


def test_the_runtime_may_end_the_block_as_in_the_paper() -> None:
    done = run(replace(WEAVE, end="runtime"), weaver(outlines(1), {"1": " x\n</Thread>"}))
    assert said(done).startswith(outlines(1) + "\n<Thread>\n1: x\n</Thread>\n</Parallel>")


@pytest.mark.parametrize(
    ("body", "spliced", "finish"),
    [
        (" x", " x\n</Thread>", "eos"),
        ("", "\n</Thread>", "eos"),
        (" y" * 40, " y" * 20 + "\n</Thread>", "length"),
        (" z</Thread>", " z</Thread>", None),
        ("</Thread>", "</Thread>", None),
    ],
)
def test_a_thread_that_does_not_close_itself_is_closed(
    body: str, spliced: str, finish: str | None
) -> None:
    method = replace(WEAVE, thread_sampling=WEAVE.sampling.but(max_tokens=40))
    backend = weaver(outlines(1, 2), {"1": " one\n</Thread>", "2": body})
    done = run(method, backend)
    assert done.result == Result("7", "0")
    assert f"<Thread>\n2:{spliced}\n</Parallel>" in said(done)
    notes = [(n.name, n.value) for n in done.tree.notes if n.thread == "0.1"]
    assert notes == ([("unclosed", finish)] if finish else [])
    gave_up = run(replace(method, unclosed="stop"), backend)
    assert gave_up.result == Result(None if finish else "7", "0")
    assert said(done).startswith(said(gave_up)) and (said(done) == said(gave_up)) != bool(finish)


@pytest.mark.parametrize(
    ("numbers", "run_as", "note"),
    [
        ((1, 1, 2), ["1", "2"], {"read": 3, "threads": 2}),
        (("1.1", "1.2"), ["1.1", "1.2"], None),
        ((3, 1), ["3", "1"], None),
        ((1, 2, 3, 4), ["1", "2", "3"], {"read": 4, "threads": 3}),
        (("one",), [], {"read": 0, "threads": 0}),
    ],
)
def test_outlines_are_read_as_they_are(
    numbers: tuple[object, ...], run_as: list[str], note: object
) -> None:
    threads = {number: f" t{number}\n</Thread>" for number in run_as}
    done = run(replace(WEAVE, most=3), weaver(outlines(*numbers), threads))
    assert done.result == Result("7", "0")
    headers = [t.segments[0].text for t in done.tree if t.id != "0"]
    assert headers == [f"\n<Thread>\n{number}:" for number in run_as]
    assert [n.value for n in done.tree.notes if n.name == "outlines"] == ([note] if note else [])


def test_several_blocks_and_their_limit() -> None:
    def script(context: str, params: SamplingParams) -> str:
        if context.endswith(":"):
            return " t\n</Thread>"
        return outlines(1) + " by itself"

    done = run(replace(WEAVE, blocks=2), ScriptedBackend(script))
    one = "\n<Thread>\n1: t\n</Thread>\n"
    assert said(done) == (outlines(1) + one) * 2 + outlines(1) + " by itself"
    assert len(done.tree) == 3 and done.result == Result(None, "0")
    none = run(replace(WEAVE, blocks=0), ScriptedBackend(script))
    assert said(none) == outlines(1) + " by itself" and len(none.tree) == 1


def test_a_budget_ends_a_thread_and_the_run() -> None:
    block = outlines(1, 2)
    backend = weaver(block, {"1": " one\n</Thread>", "2": " two" * 50})
    done = run(WEAVE, backend, budget=Budget(critical_path=len(block) + 40))
    assert done.result is None and done.limit == "critical_path"
    assert done.tree["0.0"].finish == "stop" and done.tree["0.1"].finish == "budget"
    assert said(done).endswith("<Thread>\n2:" + (" two" * 50)[:40] + "\n</Thread>\n")


@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_run_is_the_sequence_that_is_trained_on(k: int) -> None:
    for problem in islice(generate(3, "val", 3), 10):
        prompt = countdown_item(problem, "countdown").prompt
        model = oracle()
        method = ThreadWeaver(width=k, blocks=16, syntax="countdown", sampling=GREEDY)
        done = run(method, model, prompt=prompt)
        opening = f"{prompt} ; {k}"
        whole, *threads = woven(problem, k, random.Random(opening), branches=100)
        assert model.decode(done.tree.root.ids).split() == whole.context + whole.written
        forked = [t for t in done.tree if t.id != "0"]
        assert len(forked) == len(threads)
        asked = {" ".join(e.context + e.written) for e in threads}
        assert {model.decode(t.ids) for t in forked} == asked


def test_the_shipped_model_weaves() -> None:
    item = countdown_item(Problem((3, 5, 7, 8), 24), "countdown")

    async def go() -> Trajectory:
        model = connect("")
        try:
            method = ThreadWeaver(width=4, syntax="countdown", sampling=GREEDY)
            return await solve(method, item.prompt, {"policy": model})
        finally:
            await model.close()

    done = drive(go())
    assert done.result and done.result.answer and item.verify(done.result.answer)
    assert len(done.tree) > 2 and "<Thread>" in said(done)


def test_on_the_shipped_model_a_block_leaves_room_for_what_follows() -> None:
    """All first operations at once would fill the context before there is an answer."""
    done = reason("ask", "make 24 from 3 5 7 8", "-c", "threadweaver", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verified"] is True and told["longest_sequence"] < 1500


def test_the_grammar_says_how_many_outlines_suit_its_models() -> None:
    def opening(**knobs: Any) -> str:
        """The prompt of ten words."""
        model = oracle()
        method = ThreadWeaver(syntax="countdown", sampling=GREEDY, **knobs)
        done = run(method, model, prompt="24 3 5 7 8")
        return model.decode(done.tree.root.ids[:10])

    assert opening().endswith("; 8 <go>")
    assert [opening(width=k)[-6:] for k in (0, 2)] == ["0 <go>", "2 <go>"]
    told = json.dumps(syntax_of("tags").woven("Q?", TAGS.width))
    assert TAGS.width == 0 and "exactly" not in told


@pytest.mark.parametrize("form", [TAGS, syntax_of("countdown").threads])
def test_outlines_as_they_are_written_are_read(form: ThreadFormat) -> None:
    before, between, after = form.outline
    text = "".join(f"{before}{n}{between}x{n}{after}" for n in (1, 2))
    assert form.read(f"{form.block}{text}{form.outlines_end}") == [("1", "x1"), ("2", "x2")]


@pytest.mark.parametrize(("name", "value"), [("width", -1), ("blocks", -1), ("most", 0)])
def test_what_cannot_be(name: str, value: int) -> None:
    knobs: dict[str, int] = {name: value}
    with pytest.raises(ValueError, match=rf"{name} must be . or more, got {value}"):
        ThreadWeaver(**knobs)  # type: ignore[arg-type]


def test_prompts_teach_the_tags() -> None:
    told = json.dumps(syntax_of("tags").woven("Q?", 3))
    for tag in ("<Parallel>", "<Outlines>", "<Outline>1:", "</Outlines>", "exactly 3 outlines"):
        assert tag in told
