"""Questions that are variants of one problem: what is drawn is the problem, so they are one unit.

Of this very set of questions that tells nothing: their samples are independent draws.
"""

from collections.abc import Iterable, Mapping

from eval.samples import Sample
from reason.errors import UsageError


def groups_of(rows: Iterable[Sample]) -> dict[str, str]:
    """The group of every question, in the order of the rows; empty for one that has none.

    Raises UsageError for a question of two groups.
    """
    found: dict[str, str] = {}
    for row in rows:
        known = found.get(row.id, "")
        if known and row.group and known != row.group:
            raise UsageError(
                f"question {row.id!r} is of group {known!r} in one sample and of {row.group!r} in "
                "another: evaluate with the same column group, or without one"
            )
        found[row.id] = known or row.group
    return found


def units(groups: Mapping[str, str]) -> list[int] | None:
    """The unit of each question, by number; None where every question is one of its own."""
    numbers: dict[tuple[str, ...], int] = {}
    found = [
        numbers.setdefault((group,) if group else ("", name), len(numbers))
        for name, group in groups.items()
    ]
    return found if len(numbers) < len(found) else None


def counted(groups: Mapping[str, str]) -> str | None:
    """What to say of them, such as "8 questions in 4 groups"; None where there is nothing to."""
    found = units(groups)
    return f"{len(found):,} questions in {len(set(found)):,} groups" if found else None
