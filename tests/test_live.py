"""The live tree: what it folds, what it shows, and that no text can break it."""

import asyncio
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from eval.countdown import Problem
from eval.scorers import scorers_of
from eval.tasks import countdown_item
from reason.backends.scripted import ScriptedBackend
from reason.engine import Engine
from reason.errors import UsageError
from reason.events import Closed, Event, Joined, Noted, Opened, Tokens
from reason.ledger import Budget
from reason.live import play, save_svg, showing
from reason.picture import Picture
from reason.run import Controller, Trajectory, solve
from reason.tree import ThreadTree
from reason.watch import Watch, clean, label
from tests.oracle import oracle
from tests.runs import Run

ITEM = countdown_item(Problem((3, 5, 7, 8), 24), "countdown")
NESTED = countdown_item(Problem((3, 5, 7, 8, 9), 24), "countdown")
APR = AdaptiveParallel(syntax="countdown")


def run(
    controller: Controller, backend: ScriptedBackend | None = None
) -> tuple[Trajectory, list[Event], Watch]:
    watch, events = Watch(), list[Event]()
    trajectory = asyncio.run(
        solve(
            controller,
            ITEM.prompt,
            {"policy": backend or oracle()},
            sinks=[watch, events.append],
            scorers=scorers_of(ITEM),
            seed=0,
        )
    )
    if trajectory.result:
        watch.win(trajectory.result.thread, trajectory.result.answer)
    return trajectory, events, watch


def two_children(context: str, params: object) -> str:
    """An APR run whose second child finds the way."""
    if "<res>" in context:
        return "<ans> 8 - 5 = 3 , 7 * 3 = 21 , 21 + 3 = 24 <eos>"
    if "<par>" in context:
        return "5 + 3 = 8 <spawn> 24 7 8 8 8 - 5 = 3 <spawn> 24 3 7 3 <join>"
    return "no <ret> fail <eos>" if "24 7" in context else "<ret> 7 * 3 = 21 , 21 + 3 = 24 <eos>"


def watching(events: Iterable[Event]) -> Watch:
    watch = Watch()
    for event in events:
        watch(event)
    return watch


def screen(watch: Watch, width: int = 100, height: int = 24, **options: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(Picture(watch, "3 5 7 8 = 24", "apr", "tiny", **options))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_tree_of_an_apr_run() -> None:
    _, _, watch = run(AdaptiveParallel(syntax="countdown"), oracle(script=two_children))
    lines = screen(watch)
    assert [line[:15].rstrip() for line in lines[2:]] == [
        "★ 0       3 5 7",
        "├─ ✓ 0.0  24 7",
        "├─ ★ 0.1  24 3",
        "★ 0.2     join",
    ]
    assert "join 2 → goes on" in lines[-1]
    assert "critical path" in lines[0] and "3 5 7 8 = 24" in lines[0]
    assert lines[-1].endswith("<eos>")


@pytest.mark.parametrize("splice", ["replace", "append"])
def test_critical_path_and_totals_are_those_of_the_run(splice: str) -> None:
    def script(context: str, params: object) -> str:
        if "<join>" in context.rpartition("</user>")[2]:
            return "so it is \\boxed{7}"
        if "helpers" in context:
            return "<spawn><task>one</task><task>two, longer</task></spawn>"
        return "thinking long about it <result>7</result>" if "two" in context else "<result>1"

    controller = AdaptiveParallel(splice=splice)  # type: ignore[arg-type]
    trajectory, _, watch = run(controller, ScriptedBackend(script))  # type: ignore[arg-type]
    last = ["0.2"] if splice == "replace" else []
    assert watch.clock() == trajectory.tree.critical_path
    assert watch.tokens == trajectory.ledger.total_tokens
    assert watch.critical() == {"0", "0.1", *last}
    assert watch.winners == {"0", "0.1", *last}
    on_path = sum(watch.lines[thread].tokens for thread in watch.critical())
    assert on_path == trajectory.tree.critical_path


STOPS: dict[str, Callable[[Engine, asyncio.Task[Trajectory]], object]] = {
    "ctrl-c": lambda engine, task: task.cancel(),
    "deadline": lambda engine, task: engine.extend(Budget(seconds=0)),
    "root": lambda engine, task: engine.cancel(engine.tree.root),
    "child": lambda engine, task: engine.cancel(engine.tree["0.1"]),
}


@pytest.mark.parametrize("stop", STOPS)
def test_the_critical_path_does_not_shrink_where_who_waits_is_stopped(stop: str) -> None:
    async def stopped(threads: int) -> tuple[list[int], Watch, Run]:
        """A run that is stopped once so many threads are there, and wrote some tokens."""
        watch, clocks = Watch(), list[int]()
        seen = Run(APR, oracle(delay=0.001), prompt=NESTED.prompt)
        seen.sinks += [watch, lambda event: clocks.append(watch.clock())]
        task = asyncio.create_task(seen.go())
        while not (len(watch.lines) >= threads and watch.lines[f"0.{threads - 2}"].tokens):
            await asyncio.sleep(0)
        assert seen.engine
        STOPS[stop](seen.engine, task)
        await asyncio.wait([task])
        return clocks, watch, seen

    for threads in (3, 12):
        clocks, watch, seen = asyncio.run(stopped(threads))
        assert clocks == sorted(clocks)
        assert seen.engine and watch.clock() == seen.engine.tree.critical_path == clocks[-1]
        assert watch.critical() - {"0"}, "those it waited for are on the path"


def test_scores_stand_beside_their_threads_and_the_best_is_marked() -> None:
    trajectory, _, watch = run(BestOfN(n=3, syntax="countdown"), oracle(wrong=0.5))
    assert trajectory.result
    scored = [line for line in screen(watch) if "score " in line]
    assert len(scored) == 3
    (starred,) = [line for line in screen(watch)[3:] if "★" in line]
    assert f"★ {trajectory.result.thread} " in starred


def test_states_of_threads() -> None:
    def tokens(thread: str, **more: object) -> Tokens:
        return Tokens(thread=thread, segment=0, origin="sampled", text="w", ids=(1,), **more)  # type: ignore[arg-type]

    children = [f"0.{n}" for n in range(6)]
    events: list[Event] = [Opened(thread="0", model="m"), tokens("0", finish="stop")]
    events += [Opened(thread=child, model="m", parent="0") for child in children]
    events += [tokens("0.1"), tokens("0.2"), Closed(thread="0.2", finish="eos")]
    events += [Closed(thread="0.3", finish="length"), Closed(thread="0.4", finish="cancelled")]
    events += [Closed(thread="0.5", finish="error", detail="out of [bold]luck")]
    shown = [line for line in screen(watching(events))[2:] if line]
    assert [line.split("0")[0].split()[-1] for line in shown] == [*"◌◌", shown[2][3], *"✓✂⊘✗"]
    assert shown[2].rstrip().endswith("w▌")
    assert shown[6].rstrip().endswith("out of [bold]luck")


def test_one_thread_is_one_thread() -> None:
    assert " 1 thread  " in screen(watching([Opened(thread="0", model="m")]))[0].replace("/1", "")


def test_a_thousand_threads_fit() -> None:
    events: list[Event] = [Opened(thread="0", model="m")]
    for n in range(999):
        events.append(Opened(thread=f"0.{n}", model="m", parent="0"))
        events.append(Tokens(thread=f"0.{n}", segment=0, origin="sampled", text="x", ids=(n,)))
        if n % 3:
            events.append(Closed(thread=f"0.{n}", finish="eos"))
    watch = watching(events)
    lines = screen(watch, 80, 24)
    assert len(lines) == 24
    assert lines[22].startswith("╰─ … 980 more (666 done)")
    assert "0.0 " in lines[3] and "0.3 " in lines[4], "those that write come first"
    deep: list[Event] = [Opened(thread="0", model="m")]
    thread = "0"
    for _ in range(999):
        deep.append(Opened(thread=thread + ".0", model="m", parent=thread))
        thread += ".0"
    assert len(screen(watching(deep), 80, 24)) <= 24
    assert len(screen(watching(deep), 80, rows=400)) <= 401


ODD = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\r\n\t\x00\x07\x9b\u202e\u200d\ufe0f\u0301가漢👩🏽🇩\ud800[]"),
    ),
    max_size=60,
) | st.sampled_from(["[bold]x[/bold]", "[/]", "\x1b[2J\x1b[31mred", "\x9b1m", "[link=x]y"])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of a run of any shape, with any text."""
    ids = ["0"]
    events: list[Event] = [Opened(thread="0", model="m")]
    for _ in range(draw(st.integers(0, 25))):
        thread = draw(st.sampled_from(ids))
        match draw(st.integers(0, 4)):
            case 0:
                child = f"{thread}.{sum(i.rpartition('.')[0] == thread for i in ids)}"
                ids.append(child)
                kept = draw(st.integers(0, 3))
                on = draw(st.booleans())
                events.append(
                    Opened(thread=child, model="m", parent=thread, kept=kept, continues=on)
                )
            case 1 | 2:
                origin = draw(st.sampled_from(["prompt", "sampled", "injected"]))
                events.append(
                    Tokens(
                        thread=thread,
                        segment=draw(st.integers(0, 2)),
                        origin=origin,
                        text=draw(ODD),
                        ids=tuple(range(draw(st.integers(0, 9)))),
                        finish=draw(st.sampled_from([None, "stop"])),
                    )
                )
            case 3:
                name, value = draw(ODD), draw(st.one_of(ODD, st.floats(), st.none()))
                events.append(Noted(thread=thread, name=name, value=value))
            case 4:
                below = [i for i in ids if i.rpartition(".")[0] == thread]
                if below:
                    events.append(Joined(thread=thread, children=tuple(below)))
    events += [Closed(thread=i, finish="error", detail="no") for i in ids[1::2]]
    return events


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(40, 200), st.integers(4, 60), ODD)
def test_no_text_leaves_the_frame(events: list[Event], width: int, height: int, title: str) -> None:
    watch = watching(events)
    watch.win("0", title)
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(Picture(watch, title, "apr", "m"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("\n") <= height
    for line in text.splitlines():
        assert cell_len(line) <= width
        assert line.isprintable(), "no control character, no direction mark reaches a terminal"


def test_text_of_a_model_is_shown_as_it_is() -> None:
    assert clean("[bold]\x1b[31m\ta\n\nb\x9b") == "[bold]␛[31m a b\ufffd"
    assert clean("a\u202eb\u200dc") == "abc"
    assert label("<bos> <sub> 24 3 5 11 <go>") == "24 3 5 11"
    chat = "<|im_start|>system\nBe good<|im_end|>\n<|im_start|>user\nAdd\n 2<|im_end|>\n"
    assert label(chat + "<|im_start|>assistant\n") == "Add 2"


def test_svg_is_xml_and_names_the_threads(tmp_path: Path) -> None:
    _, _, watch = run(AdaptiveParallel(syntax="countdown", width=4))
    watch(Noted(thread="0", name="odd", value="<b>&\x00\ud800\x1b]0;x\x07"))
    save_svg(tmp_path / "new" / "tree.svg", Picture(watch, "<&\x08>", "apr"), "below")
    text = "".join(ET.parse(tmp_path / "new" / "tree.svg").getroot().itertext())
    for thread in watch.lines:
        assert thread in text
    with pytest.raises(UsageError, match="cannot write"):
        save_svg(tmp_path, Picture(watch, "", ""))


def test_playing_back_gives_the_same_tree_at_its_own_pace() -> None:
    trajectory, events, _ = run(AdaptiveParallel(syntax="countdown"), oracle(delay=0.02))
    tree, played = ThreadTree(), list[float]()

    async def timed(speed: float) -> float:
        began = asyncio.get_running_loop().time()
        await play(events, [tree.apply, lambda event: played.append(event.at)], speed)
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(timed(2.0)) >= events[-1].at / 2
    assert [(t.id, t.text, t.clock) for t in tree] == [
        (t.id, t.text, t.clock) for t in trajectory.tree
    ]
    assert played == sorted(played)
    with pytest.raises(UsageError, match="event 1 speaks of '0'"):
        asyncio.run(play(events[1:], [ThreadTree().apply], 0))


def test_live_on_a_terminal_ends_with_the_tree_and_elsewhere_is_silent() -> None:
    async def shown(console: Console) -> str:
        watch = Watch()
        async with showing(console, Picture(watch, "title", "apr")):
            watch(Opened(thread="0", model="m"))
            await asyncio.sleep(0.15)
            watch(Closed(thread="0", finish="eos"))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    text = asyncio.run(shown(terminal))
    assert "◌" in text and "✓" in text.rpartition("◌")[2]
    assert asyncio.run(shown(Console(file=io.StringIO()))) == ""
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert asyncio.run(shown(dumb)) == ""
