"""Light or dark."""

from collections.abc import Mapping

from textual.theme import BUILTIN_THEMES

from reason.settings import choose

SHORT = {"dark": "textual-dark", "light": "textual-light"}
LIGHT = ("7", "15")
"""Backgrounds, as COLORFGBG has them."""


def theme_of(name: str, environment: Mapping[str, str]) -> str:
    """The theme of that name; without one, light where the terminal says that it is. Raises
    UsageError naming those that exist."""
    if not name:
        ground = environment.get("COLORFGBG", "").rpartition(";")[2]
        return SHORT["light" if ground in LIGHT else "dark"]
    known = {**SHORT, **{each: each for each in BUILTIN_THEMES}}
    return choose("theme", name, known)
