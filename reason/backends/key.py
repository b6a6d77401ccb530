"""The key to a server: read from the environment, so that no command line or file holds it."""

import os

from reason.errors import UsageError


def authorization(key_env: str, default: str = "") -> dict[str, str]:
    """The header that carries the key of the environment variable `key_env`, else of `default`.

    Raises UsageError if one was named that is not set, or if what it holds can be no key.
    """
    name = key_env or default
    key = os.environ.get(name, "").strip()
    if key_env and not key:
        raise UsageError(f"the environment variable {name} is not set; it is to hold the key")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"what the environment variable {name} holds is no key")
    return {"Authorization": f"Bearer {key}"} if key else {}
