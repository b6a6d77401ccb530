"""The cells of a sweep as tasks on Ray: on the cores of one machine, or on a cluster of several.

A worker that dies takes its cell with it; Ray starts the cell again elsewhere, which goes on from
the rows that are on disk. So all machines must see the folder of the sweep under the same path, and
have the package installed.
"""

from collections.abc import Iterator
from math import inf
from typing import Any

from rich.console import Console

from eval.allowance import Allowance, Limits
from eval.evaluation import Evaluation
from eval.folder import read_json
from eval.sweep import FAILED, Cell, Sweep
from reason.command import stoppable
from reason.config import Values
from reason.errors import ReasonError, UsageError
from reason.extras import extra
from reason.keys import Eval
from reason.session import run
from reason.settings import command_of

RETRIES = 3
"""How often a cell is started again whose worker died."""
POLL_SECONDS = 0.5


def run_cell(tables: Values, tokens: float, seconds: float) -> str | None:
    """One cell, in a process of its own; what went wrong, if anything did."""
    console = Console(quiet=True)
    try:
        evaluation = Evaluation.of(command_of(Eval, tables), tables)
        models = evaluation.connect(console)
        allowance = Allowance(Limits(tokens, seconds))
        work = evaluation.go(models, console, brief=True, allowance=allowance)
        run(work, models, virtual=evaluation.archive is not None)
    except ReasonError as error:
        return str(error)
    return None


def go_on_ray(sweep: Sweep, address: str, cpus: float, gpus: float, console: Console) -> int:
    """Run what is missing of a sweep; the exit code.

    `address` is "ray" for the cluster that RAY_ADDRESS names, else this machine, or
    ray://HOST:PORT. `cpus` and `gpus` are what one cell takes. A limit on the tokens of the sweep
    holds for what is begun: cells that run at the same time may each spend what was left then.
    Raises UsageError for a cluster that cannot be reached, or is too small, and for cells that
    hold another configuration.
    """
    sweep.settle()
    with extra("ray"):
        import ray
        from ray.exceptions import RayError

    begun = not ray.is_initialized()
    if begun:
        try:
            ray.init(
                address=None if address == "ray" else address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"cannot reach a Ray cluster at {address}: {error}") from error
    try:
        slots = _slots(ray.cluster_resources(), cpus, gpus)
        task = ray.remote(max_retries=RETRIES, num_cpus=cpus, num_gpus=gpus)(run_cell)
        allowance = Allowance(sweep.limits)
        waiting, running = list(sweep.cells), dict[Any, Cell]()
        spent, done, limited = None, 0, sweep.limits.total_tokens < inf
        with stoppable(sweep.kept):
            while running or (waiting and not spent):
                if limited:
                    allowance.tokens = sum(_tokens(sweep))
                spent = allowance.spent()
                while waiting and len(running) < slots and not spent:
                    cell = waiting.pop(0)
                    left = inf
                    if limited:  # a cell counts what it has spent before itself
                        own = sum(_tokens(sweep, cell))
                        left = sweep.limits.total_tokens - allowance.tokens + own
                    running[task.remote(cell.tables, left, allowance.left())] = cell
                ready, _ = ray.wait(list(running), timeout=POLL_SECONDS) if running else ([], [])
                for reference in ready:
                    cell = running.pop(reference)
                    done += 1
                    try:
                        cell.error = ray.get(reference)
                    except RayError as error:
                        cell.error = f"its worker failed: {str(error).splitlines()[0]}"
                    console.print(f"{done}/{len(sweep.cells)} {cell.name}", markup=False)
                    if cell.error:
                        console.print(f"  {cell.error}", style="yellow", markup=False)
        if spent:
            console.print(spent, style="yellow", markup=False)
    finally:
        if begun:
            ray.shutdown()
    return FAILED if sweep.unfinished() else 0


def _slots(there: dict[str, float], cpus: float, gpus: float) -> int:
    """How many cells can run at once."""
    wanted = {"CPU": cpus, "GPU": gpus}
    fits = [there.get(name, 0.0) / much if much else inf for name, much in wanted.items()]
    if min(fits) < 1:
        raise UsageError(
            f"a cell takes {cpus:g} CPU and {gpus:g} GPU, and the cluster has "
            f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}: give cpus=… and gpus=…"
        )
    return int(min(*fits, 1000))


def _tokens(sweep: Sweep, only: Cell | None = None) -> Iterator[int]:
    """Tokens that were sampled, as far as timing.json of each cell knows."""
    for cell in [only] if only else sweep.cells:
        for path in [*cell.folder.glob("timing.json"), *cell.folder.glob("*/timing.json")]:
            yield (read_json(path) or {}).get("total_tokens", 0)
