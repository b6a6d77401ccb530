"""A draft and its target: what they are called, and what the target must give."""

from collections.abc import Mapping
from pathlib import Path

from reason.backends.base import Info
from reason.errors import UsageError


def name_of(info: Info) -> str:
    """A model as a calibration names it: with its weights, where they are known."""
    return f"{Path(info.model).name} {info.fingerprint}".strip()


def check_target(models: Mapping[str, Info]) -> None:
    """Raise UsageError for a run without a model that can score drafts."""
    if "target" not in models:
        raise UsageError(
            "atts needs two models: give the one that takes over as backends.target=SPEC, such as "
            "backends.target=sglang://HOST:PORT; the one of --backend drafts"
        )
    info = models["target"]
    if not (info.scores and info.token_ids):
        raise UsageError(
            f"the target {info.model} returns no log-probabilities of given texts over this "
            "interface, so that no draft can be scored; sglang:// and hf: backends do"
        )
