"""`reason compare A B`: what the command does once its options are objects."""

from contextlib import nullcontext

import msgspec
from rich.console import Console

from eval.contrast import Budgets, contrasts
from eval.contrast_table import as_json, terminal
from eval.score import parse_score
from reason.keys import Compare


def compare(asked: Compare, console: Console) -> int:
    """Print the first against each of the others; the exit code. Raises UsageError as `contrasts`
    does."""
    shown = not asked.json and console.is_terminal
    with console.status("permuting") if shown else nullcontext():
        budgets: Budgets = {
            "critical_path": asked.critical_path,
            "total_tokens": asked.total_tokens,
        }
        found = contrasts(asked.folders, budgets, asked.seed, parse_score(asked.score))
    if asked.json:
        console.out(msgspec.json.encode(as_json(found)).decode(), highlight=False)
    else:
        console.print(*terminal(found), sep="\n")
    return 0
