"""The budgets of methods that work in rounds, derived from the tree of the run."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from reason.tree import ThreadTree
from reason.types import Thread

CALL = "call"
"""The note that says of which round a call is, and whether an attempt or a distillation."""


def round_of(tree: ThreadTree, thread: Thread) -> int | None:
    """The round of which the thread is an attempt; None for any other thread."""
    for note in reversed(tree.notes):
        if note.name == CALL and note.thread == thread.id and note.value["kind"] == "attempt":
            found: int = note.value["round"]
            return found
    return None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Tokens in and out of calls (Madaan et al. 2025, section 2)."""

    b_seq: int
    """On the accepted path: of every round the longest attempt and the longest distillation, as
    the next round has waited for it."""
    b_seq_mean: float
    """The same with the mean attempt of every round."""
    b_total: int
    """Of all calls."""

    @classmethod
    def of(cls, tree: ThreadTree, root: Thread) -> "Rounds":
        """Of the calls below `root`. What a call holds in the end is what went in and came out;
        threads below it count in b_total, and with the longest of them in b_seq."""
        lengths: dict[tuple[int, str], list[int]] = defaultdict(list)
        total = 0
        for note in tree.notes:
            if note.name == CALL and note.thread.startswith(f"{root.id}."):
                threads = list(tree.below(tree[note.thread]))
                lengths[note.value["round"], note.value["kind"]].append(
                    max(thread.length for thread in threads)
                )
                total += sum(thread.length - thread.kept for thread in threads)
        longest = sum(max(each) for each in lengths.values())
        mean = sum(
            sum(each) / len(each) if kind == "attempt" else max(each)
            for (_, kind), each in lengths.items()
        )
        return cls(longest, mean, total)

    def figures(self) -> dict[str, Any]:
        """For Result.extra."""
        return {"b_seq": self.b_seq, "b_seq_mean": self.b_seq_mean, "b_total": self.b_total}
