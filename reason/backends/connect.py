"""From a user's words to a backend: `hf:PATH_OR_HUB_ID?dtype=bfloat16&device=cuda`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from reason.backends.base import Backend
from reason.config import convert, unknown_key
from reason.errors import UsageError
from reason.extras import extra

SHIPPED = "countdown-apr"
"""The model that comes with the package, in reason/models."""


def connect(spec: str = "") -> Backend:
    """The backend that `spec` names; without one, the model that ships with the package.

    Raises UsageError for what does not exist, naming what does.
    """
    if not spec:
        folder = Path(__file__).parent.parent / "models" / SHIPPED
        if not folder.is_dir():
            raise UsageError("no model ships with this copy; give one with --backend hf:PATH")
        return _hf(str(folder), {})
    scheme, colon, rest = spec.partition(":")
    if not colon or scheme not in _LOADERS:
        forms = ", ".join(f"{name}:{form}" for name, (_, form) in _LOADERS.items())
        raise UsageError(f"no backend is called {spec!r}; a backend is written {forms}")
    place, _, query = rest.partition("?")
    load, form = _LOADERS[scheme]
    if not place:
        raise UsageError(f"{spec!r} names no model; a backend is written {scheme}:{form}")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise UsageError(
            f"the options of {spec!r} must read key=value&key=value, got {query!r}"
        ) from None
    return load(place, options)


def _hf(place: str, options: dict[str, str]) -> Backend:
    with extra("hf"):
        from reason.backends.hf import HFBackend
    return HFBackend.load(place, **_typed(options, HFBackend.load, HFBackend.__init__))


_LOADERS: dict[str, tuple[Callable[[str, dict[str, str]], Backend], str]] = {
    "hf": (_hf, "PATH_OR_HUB_ID"),
}


def _typed(options: dict[str, str], *functions: Callable[..., Any]) -> dict[str, Any]:
    """The options as the keywords of these functions that they are."""
    hints: dict[str, Any] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name != "name":
                hints[name] = get_type_hints(function)[name]
    unknown_key(options, hints)
    return {name: convert(hints[name], value, name) for name, value in options.items()}
