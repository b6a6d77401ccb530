"""An evaluation on the oracle, in this process or as one of its own that can be killed."""

import asyncio
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controllers.apr import AdaptiveParallel
from eval.command import resolve
from eval.item import Item
from eval.metrics import Metrics
from eval.runner import OnRow, evaluate
from eval.tasks import task_of
from reason.backends.base import Backend
from reason.errors import ReasonError
from reason.ledger import Budget
from reason.run import Controller
from tests.oracle import oracle

APR = AdaptiveParallel(syntax="countdown")
LIMIT, REPEATS = 30, 2


def problems(limit: int = LIMIT) -> list[Item]:
    return list(task_of("countdown3").items(limit, 0, "countdown"))


async def evaluate_oracle(
    out: Path,
    *,
    backend: Backend | None = None,
    items: Sequence[Item] | None = None,
    controller: Controller = APR,
    repeats: int = REPEATS,
    budget: Budget | None = None,
    concurrency: int = 8,
    tokens_in_flight: int | None = None,
    delay: float = 0.0,
    trees: bool = True,
    on_row: OnRow | None = None,
) -> Metrics:
    """The evaluation that all tests run: APR on 30 problems, twice, some answered wrongly."""
    items = problems() if items is None else items
    backends = {"policy": backend or oracle(wrong=0.15, silent=0.1, delay=delay)}
    budget = budget or Budget()
    config = resolve(
        "countdown3", repeats, controller, controller.name, backends, budget, len(items), 0
    )
    return await evaluate(
        controller,
        items,
        backends,
        out,
        config=config,
        repeats=repeats,
        budget=budget,
        concurrency=concurrency,
        tokens_in_flight=tokens_in_flight,
        trees=trees,
        on_row=on_row,
    )


def main(options: dict[str, Any]) -> int:
    """Exit code 0 when done, 2 with one line for an error, 130 for Ctrl-C."""
    file_limit = options.pop("file_limit", None)
    if file_limit:  # as a full disk: what goes beyond is refused, after a part of it was taken
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    try:
        asyncio.run(evaluate_oracle(Path(options.pop("out")), **options))
    except ReasonError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
