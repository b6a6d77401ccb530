"""The hub that models come from: asked once, where its library would go on trying for a minute."""

from pathlib import Path

import httpx
from huggingface_hub import constants

from reason.errors import UsageError

SECONDS = 5.0
"""In which it must answer."""


def unreachable() -> str | None:
    """Why the hub cannot be asked, so that only its cache is left; None if it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        httpx.head(constants.ENDPOINT, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{constants.ENDPOINT} does not answer ({error})"
    return None


def local(name: str) -> Path | None:
    """The folder of that name; None for what may be a model of the hub.

    Raises UsageError for a path to nowhere, which no model of the hub can be called.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UsageError(f"no checkpoint directory at {name}")
    return None


def missing(name: str, why: str) -> str:
    """What to say of a model that is not in the cache of a hub that cannot be asked."""
    return (
        f"{name} is neither a folder here nor in the cache of the hub, and {why}: give a folder, "
        "or try again with a network"
    )
