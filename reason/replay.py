"""A recorded run, played back into the same tree."""

from contextlib import nullcontext
from pathlib import Path

from reason.account import UNFINISHED, Ending, account, split_ending
from reason.ledger import Ledger
from reason.live import animates, play, showing
from reason.output import Output
from reason.picture import Picture
from reason.record import read
from reason.run import Trajectory
from reason.tree import ThreadTree
from reason.types import Result
from reason.watch import Watch


async def replay(path: Path, output: Output, speed: float) -> int:
    """Show a recorded run at `speed` times its own, 0 for its end only, and its account.

    The exit code is that of the run: 1 for no answer, or where the recording stops before one.
    """
    header, recorded = read(path)
    events, ending = split_ending(list(recorded))
    watch, tree, ledger = Watch(), ThreadTree(), Ledger()
    title, method, model = (str(header.get(key, "")) for key in ("title", "method", "model"))
    picture = Picture(watch, title, method, model)
    live = animates(output.console) and speed > 0 and not output.json
    sinks = (tree.apply, ledger.apply, watch)
    shown = showing(output.console, picture) if live else nullcontext()
    async with shown:
        await play(events, sinks, speed if live else 0)
        watch.win(ending.thread, ending.found)
        if ending is UNFINISHED:
            watch.cut()
    run = replayed(method, title, tree, ledger, ending)
    output.finish(picture, account(run, ending), tree=not live)
    return 0 if ending.answer is not None else 1


def replayed(
    method: str, title: str, tree: ThreadTree, ledger: Ledger, ending: Ending
) -> Trajectory:
    """The run that a recording adds up to."""
    result = Result(ending.answer, ending.thread) if ending.thread else None
    return Trajectory(
        {"name": method}, title, tree, ledger, result, ending.error, None, ending.limit
    )
