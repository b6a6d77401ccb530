"""Adaptive parallel reasoning with tags, by a model that has its own ideas of the grammar."""

from dataclasses import replace

import pytest

from controllers.apr import AdaptiveParallel
from reason.backends.scripted import ScriptedBackend
from reason.ledger import Budget
from reason.types import Result, SamplingParams
from tests.runs import run

TAGS = AdaptiveParallel(sampling=SamplingParams(max_tokens=200), rounds=2, depth=2, most=5)
FINAL = "so \\boxed{7}"


def tagged(block: str, *, child: str = "<result>7</result>") -> ScriptedBackend:
    """Writes `block` first, FINAL once it has read a join, and `child` where it is a child."""

    def script(context: str, params: SamplingParams) -> str:
        if "<join>\n<result>" in context.partition("</user>")[2] or "no task" in context:
            return FINAL
        return child if context.startswith("<user>do ") else block

    return ScriptedBackend(script, chunk=64)


def spawn(*tasks: str) -> str:
    return "<spawn>" + "".join(f"<task>{task}</task>" for task in tasks) + "</spawn>"


def test_tags_spawn_and_join() -> None:
    done = run(TAGS, tagged(f"I split: {spawn('do a', 'do b')} never read"))
    assert done.result == Result("7", "0.2")
    assert [t.id for t in done.tree] == ["0", "0.0", "0.1", "0.2"]
    assert done.tree["0"].text == f"I split: {spawn('do a', 'do b')}"
    joined = "\n<join>\n<result>7</result>\n<result>7</result>\n</join>\n"
    assert [s.text for s in done.tree["0.2"].segments] == [joined, FINAL]
    before = done.tree.root.segments[0].ids + [ord(c) for c in "I split: "]
    assert done.tree["0.2"].ids[: done.tree["0.2"].kept] == before
    block = len(f"I split: {spawn('do a', 'do b')}")
    assert done.tree.critical_path == block + len("<result>7</result>") + len(FINAL)
    assert [t.depth for t in done.tree] == [0, 1, 1, 0]
    assert [t.continues for t in done.tree] == [False, False, False, True]


def test_an_answer_in_a_childs_report_is_not_the_threads_own() -> None:
    backend = tagged(spawn("do a"), child="<result>\\boxed{9}</result>")
    assert run(TAGS, backend).result == Result("7", "0.1")

    def silent(context: str, params: SamplingParams) -> str:
        written = backend.script(context, params)
        assert isinstance(written, str)
        return "hm" if written == FINAL else written

    assert run(TAGS, ScriptedBackend(silent)).result == Result(None, "0.1")


@pytest.mark.parametrize(
    ("block", "children", "notes"),
    [
        ("<spawn></spawn>", 0, [("tasks", {"read": 0, "most": 5})]),
        ("</spawn>", 0, [("tasks", {"read": 0, "most": 5})]),
        ("<join>", 0, [("tasks", {"read": 0, "most": 5})]),
        ("<spawn>do a, do b</spawn>", 0, [("tasks", {"read": 0, "most": 5})]),
        ("<spawn><task>do a<task>do b</task></spawn>", 1, []),
        (spawn("do a", "do a", "do a"), 3, []),
        (spawn("do a") + spawn("do b"), 1, []),
        (spawn("do it") + "<join><result>made up</result></join>", 1, []),
    ],
)
def test_blocks_that_are_not_well_formed(
    block: str, children: int, notes: list[tuple[str, object]]
) -> None:
    done = run(TAGS, tagged(block))
    assert done.result == Result("7", f"0.{children}")
    assert [(n.name, n.value) for n in done.tree.notes] == notes
    assert len(done.tree) == children + 2
    assert "made up" not in "".join(t.text for t in done.tree)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("x = 5, y = 7. No need for </spawn>", "x = 5, y = 7. No need for </spawn>"),
        ("I could <spawn> but x = 5. Done </spawn>", "I could <spawn> but x = 5. Done </spawn>"),
        ("I could <spawn> but x = 5. No <join>", "I could <spawn> but x = 5. No "),
        ("x = 5. <spawn>do a, do b</spawn>", "x = 5. <spawn>do a, do b</spawn>"),
        ("No <spawn> yet: " + spawn("do a"), "No <spawn> yet: "),
        ("x = 5. <spawn><task>do a</task><join>", "x = 5. "),
    ],
)
def test_only_a_block_with_tasks_is_replaced(written: str, kept: str) -> None:
    done = run(TAGS, tagged(written))
    assert done.result is not None and done.result.answer == "7"
    thread = done.tree[done.result.thread]
    context = "".join(map(chr, thread.ids))
    prompt, report = done.tree.root.segments[0].text, thread.segments[0].text
    assert context == prompt + kept + report + FINAL
    assert report.startswith("\n<join>\n") and report.endswith("</join>\n")


def test_stop_strings_of_the_sampling_end_a_thread_as_they_do_in_other_methods() -> None:
    asked: dict[str, tuple[str, ...]] = {}

    def script(context: str, params: SamplingParams) -> str:
        asked[context[:8]] = params.stop
        if context.startswith("<user>do"):
            return "<result>1 END not this: <spawn>"
        if "<join>\n<result>" in context.partition("</user>")[2]:
            return FINAL + " END nor this"
        return spawn("do a")

    sampling = TAGS.sampling.but(stop=("END", "<join>"))
    child = TAGS.sampling.but(stop=("not",))
    done = run(replace(TAGS, sampling=sampling, child_sampling=child), ScriptedBackend(script))
    assert asked == {
        "<user>Q\n": ("</spawn>", "<join>", "END"),
        "<user>do": ("</spawn>", "<join>", "not"),
    }
    assert done.result == Result("7", "0.1")
    assert done.tree["0.0"].text == "<result>1 END not"
    assert done.tree["0.1"].segments[-1].text == FINAL + " END"
    assert done.tree.notes == []


def test_a_spawn_bomb_is_cut_to_size() -> None:
    method = replace(TAGS, sampling=SamplingParams(max_tokens=100_000))
    done = run(method, tagged(spawn(*(f"do {i}" for i in range(1000)))))
    assert done.result == Result("7", "0.5")
    assert len(done.tree) == 1 + 5 + 1
    assert [(n.name, n.value) for n in done.tree.notes] == [("tasks", {"read": 1000, "most": 5})]
    limited = run(replace(method, most=1000), tagged(spawn(*(["do x"] * 1000))),
                  budget=Budget(threads=100))  # fmt: skip
    assert (limited.error, limited.limit) == ("the run reached budget.threads=100", "threads")
    assert len(limited.tree) == 100 and {t.finish for t in limited.tree} == {"budget"}


def test_a_child_that_never_stops_returns_nothing() -> None:
    backend = tagged(spawn("do a", "do b"), child="<result>7" + "." * 5000)
    done = run(TAGS, backend)
    assert done.result == Result("7", "0.2")
    assert [t.finish for t in done.tree] == ["stop", "length", "length", "eos"]
    assert done.tree["0.2"].segments[0].text.count("<result>no result</result>") == 2
    assert [(n.thread, n.name) for n in done.tree.notes] == [
        ("0.0", "no result"),
        ("0.1", "no result"),
    ]
    assert done.tree.critical_path == len(spawn("do a", "do b")) + 200 + len(FINAL)


def test_children_that_always_spawn_reach_the_depth_and_no_further() -> None:
    def script(context: str, params: SamplingParams) -> str:
        return FINAL if "<join>\n" in context.partition("</user>")[2] else spawn("do a", "do b")

    done = run(replace(TAGS, depth=2, splice="append"), ScriptedBackend(script, chunk=64))
    assert done.result == Result("7", "0")
    assert sorted(t.id for t in done.tree) == [
        "0", "0.0", "0.0.0", "0.0.1", "0.1", "0.1.0", "0.1.1",
    ]  # fmt: skip
    refused = [n.thread for n in done.tree.notes if n.name == "spawn refused"]
    assert sorted(refused) == ["0.0.0", "0.0.1", "0.1.0", "0.1.1"]
    block = len(spawn("do a", "do b"))
    assert done.tree.critical_path == 3 * block + 2 * len(FINAL)


@pytest.mark.parametrize("splice", ["append", "replace"])
def test_a_thread_that_always_spawns_is_stopped_after_its_rounds(splice: str) -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "<result>1</result>" if context.startswith("<user>do") else "go " + spawn("do a")

    method = replace(TAGS, rounds=2, splice=splice)  # type: ignore[arg-type]
    done = run(method, ScriptedBackend(script, chunk=64))
    assert done.result is not None and (done.result.answer, done.error) == (None, None)
    assert [(n.name, n.value) for n in done.tree.notes] == [
        ("spawn refused", "after 2 rounds, at level 0")
    ]
    each = len("go " + spawn("do a"))
    assert done.tree.critical_path == 3 * each + 2 * len("<result>1</result>")
    assert done.result.thread == {"append": "0", "replace": "0.1.1"}[splice]


@pytest.mark.parametrize("splice", ["append", "replace"])
@pytest.mark.parametrize("limit", [{}, {"depth": 1}, {"threads": 5}, {"depth": 1, "threads": 5}])
def test_a_thread_that_goes_on_after_a_join_is_no_other_thread(
    splice: str, limit: dict[str, int]
) -> None:
    def script(context: str, params: SamplingParams) -> str:
        if context.startswith("<user>do "):
            return "<result>1</result>"
        rounds = context.partition("</user>")[2].count("<join>\n<result>")
        return FINAL if rounds == 2 else spawn("do a", "do b")

    method = replace(TAGS, splice=splice)  # type: ignore[arg-type]
    done = run(method, ScriptedBackend(script, chunk=64), budget=Budget(**limit))
    assert done.result is not None
    assert (done.result.answer, done.error, done.limit) == ("7", None, None)
    assert (done.ledger.threads, done.ledger.peak_threads) == (5, 3)
    assert sorted(t.depth for t in done.tree if not t.continues) == [0, 1, 1, 1, 1]
    assert run(method, ScriptedBackend(script), budget=Budget(threads=4)).limit == "threads"
    assert run(method, ScriptedBackend(script), budget=Budget(depth=0)).limit == "depth"


def test_no_spawning_at_all() -> None:
    done = run(TAGS, lambda context, params: FINAL)
    assert (done.result, len(done.tree)) == (Result("7", "0"), 1)
    assert run(replace(TAGS, rounds=0), tagged(spawn("do a"))).tree.notes[0].name == "spawn refused"


def test_children_may_be_sampled_in_their_own_way() -> None:
    heat: dict[str, float] = {}

    def script(context: str, params: SamplingParams) -> str:
        heat[context[:8]] = params.temperature
        written = tagged(spawn("do a")).script(context, params)
        assert isinstance(written, str)
        return written

    run(replace(TAGS, child_sampling=SamplingParams(temperature=0.9)), ScriptedBackend(script))
    assert heat == {"<user>Q\n": 1.0, "<user>do": 0.9}
