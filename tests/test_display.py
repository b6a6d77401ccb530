"""The display of a training run: a live tree on a terminal, lines elsewhere."""

import io

from rich.console import Console

from controllers.apr import AdaptiveParallel
from eval.item import Item
from reason.backends.scripted import ScriptedBackend
from reason.types import SamplingParams
from rl.display import Display
from rl.rollouts import Rollouts


def rollouts() -> Rollouts:
    def script(context: str, params: SamplingParams) -> str:
        return "wondering about it"

    items = [Item(str(n), f"problem {n}", f"problem {n}", lambda answer: None) for n in range(3)]
    backend = ScriptedBackend(script, words=True, model="words")
    method = AdaptiveParallel(sampling=SamplingParams(temperature=1.0))
    return Rollouts(method, {"policy": backend}, items)


def shown(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, height=30, _environ={})
    work = rollouts()
    with Display(console, "apr", "words") as display:
        display.steps(0, 4)
        work.watch = display.watch
        work.run(["problem 1", "problem 2"], 0)
        display.figures("1/4  reward 0.5")
        display.steps(1, 4)
        display.say("held out: 50.0%")
        display._drawn = 0.0
        display.refresh()
    work.close()
    return file.getvalue()


def test_a_terminal_shows_steps_figures_and_a_rollout() -> None:
    text = shown(True)
    for part in ("step", "1/4", "reward 0.5", "held out: 50.0%", "wondering", "apr", "problem"):
        assert part in text


def test_elsewhere_there_is_a_line_for_each_step() -> None:
    assert shown(False) == "1/4  reward 0.5\nheld out: 50.0%\n"
