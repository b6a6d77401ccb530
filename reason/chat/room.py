"""How tall a list that grows is made."""

STEP = 32
"""Rows by which it grows: for each other height everything on the screen is laid out anew, which
costs as much as drawing it."""


def room(rows: int, height: int) -> int:
    """Rows to scroll in, where so many are there and `height` are seen."""
    return max(height, 1) if rows <= height else -(-rows // STEP) * STEP
