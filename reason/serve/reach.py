"""Whether the servers of models can be reached."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from reason.backends.base import Backend

PATIENCE = 2.0
"""Seconds to wait for a connection."""


async def down(models: Mapping[str, Backend]) -> str | None:
    """Why a model cannot be asked, if none of its servers takes a connection; models in this
    process can always be asked."""
    for role, model in models.items():
        urls = [url for each in getattr(model, "workers", (model,)) if (url := _url(each))]
        faults = await asyncio.gather(*map(_fault, urls))
        if urls and all(faults):
            return f"the {role} model cannot be reached: {'; '.join(filter(None, faults))}"
    return None


def _url(model: object) -> str | None:
    found = getattr(model, "url", None)
    return found if isinstance(found, str) else None


async def _fault(url: str) -> str | None:
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(place.hostname, port)
    except TimeoutError:
        return f"{url} did not answer in {PATIENCE:g} s"
    except OSError as error:
        return f"{url}: {error.strerror or error}"
    writer.close()
    return None
