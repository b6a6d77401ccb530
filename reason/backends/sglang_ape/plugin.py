"""What an SGLang server loads: one name for `--radix-cache-backend`, and nothing before it is used.

Entry point of the group `sglang.srt.plugins`, called in every process of every server beside which
this package is installed. A server without the flag is not touched.
"""

from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from reason.backends.sglang_ape.wire import NAME


def register() -> None:
    """Make the name known to the server's flag."""
    from sglang.srt.mem_cache.registry import register_radix_cache_backend

    register_radix_cache_backend(NAME, create)


def create(context: Any) -> Any:
    """The prefix cache of a scheduler that was started with the flag, its model runner prepared.

    `context` is SGLang's TreeCacheBuildContext. Raises ValueError, which ends the server, for a
    configuration that the plug-in does not serve.
    """
    from sglang.srt.mem_cache.registry import create_unified_radix_cache

    from reason.backends.sglang_ape.cache import ContextCache
    from reason.backends.sglang_ape.forward import ParallelForward
    from reason.backends.sglang_ape.limits import check, positions

    check(context)
    # A request's reading lives as long as the request itself, so that nothing is left behind.
    readings: Any = WeakValueDictionary()
    ParallelForward(context.tp_worker.model_runner, readings)
    limit = positions(context.model_config)
    cache = partial(ContextCache, readings=readings, positions=limit)
    return create_unified_radix_cache(context, cache_class=cache)
