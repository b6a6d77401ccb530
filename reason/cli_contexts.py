"""`reason cache` and `reason tune`: contexts that are encoded ahead, and how they are read."""

from pathlib import Path
from typing import TYPE_CHECKING

from reason.command import group
from reason.config import Values, unknown_key
from reason.context_keys import CacheBuild, CacheList, CacheRemove, Tune
from reason.errors import UsageError
from reason.extras import extra
from reason.options import command
from reason.session import connected, run, terminal
from reason.settings import method_of

if TYPE_CHECKING:
    from reason.backends.context_store import ContextStore

cache_app = group("Contexts that are encoded ahead, for the method ape.")
tune_app = group("Fit a method to a model.")


def _store(place: Path | None) -> "ContextStore":
    with extra("hf"):
        from reason.backends.context_store import ContextStore, default_folder

    return ContextStore(place or default_folder())


@command(cache_app, "build", CacheBuild, "[KEY=VALUE]")
def build_command(asked: CacheBuild, tables: Values) -> int:
    """Encode contexts with a model in this process, and keep them on disk.

    For example: reason cache build 'contexts=@docs/*.md' -b hf:Qwen/Qwen3-0.6B. The keys are those
    of the method ape; its questions find there what was encoded with the same model, prefix and
    text.
    """
    from controllers.methods import fitted, method_named
    from eval.context_building import build

    with extra("hf"):
        from reason.backends.hf import HFBackend
    if asked.words:
        raise UsageError(
            f"what is {' '.join(asked.words)!r}? contexts are given as 'contexts=@FILES'"
        )
    method, _ = method_of(CacheBuild, tables, method_named("ape"), method_named)
    console = terminal()
    models = connected(asked.backend, tables, console)
    model = models["policy"]
    if not isinstance(model, HFBackend):
        raise UsageError(
            f"{model.info.model} is a server, which keeps its contexts itself; a cache on disk is "
            "for models in this process: --backend hf:PATH_OR_HUB_ID"
        )
    ape = fitted(method, tables, model.info, ())
    return run(build(ape, model, _store(asked.out), console, asked.json), models)


@command(cache_app, "list", CacheList, "[KEY=VALUE]", toml=False)
def list_command(asked: CacheList, tables: Values) -> int:
    """List the contexts that are kept on disk."""
    from eval.context_building import listed

    unknown_key(tables, ("words", "out", "json"))
    return listed(_store(asked.out), terminal(), asked.json)


@command(cache_app, "rm", CacheRemove, "NAME…", toml=False)
def rm_command(asked: CacheRemove, tables: Values) -> int:
    """Delete contexts by the beginning of their names, or all.

    For example: reason cache rm 3f2a, or reason cache rm --all.
    """
    unknown_key(tables, ("names", "all", "out"))
    if asked.all == bool(asked.names):
        raise UsageError("which contexts? give names of `reason cache list`, or --all")
    count = _store(asked.out).remove(asked.names or ("",))
    terminal().print(f"{count} context{'s' * (count != 1)} deleted", markup=False)
    return 0


@command(tune_app, "ape", Tune, "[TASK] [KEY=VALUE]")
def ape_command(asked: Tune, tables: Values) -> int:
    """Find the T and S of ape that come nearest to reading one sequence.

    For example: reason tune ape people8 -b lookup --out tuned.json, then reason eval people8 -c ape
    -b lookup tuned=tuned.json. No answers are needed: TASK may be a .jsonl file of questions, to
    which 'contexts=@FILES' gives contexts.
    """
    from controllers.methods import fitted, method_named
    from eval.tuning_command import tune_task

    method, _ = method_of(Tune, tables, method_named("ape"), method_named)
    console = terminal()
    models = connected(asked.backend, tables, console)
    ape = fitted(method, tables, models["policy"].info, ())
    return run(tune_task(asked, ape, models["policy"], console), models, lambda: "nothing was kept")
