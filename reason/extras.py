"""What an installation without extras does not have."""

from collections.abc import Iterator
from contextlib import contextmanager

from reason.errors import UsageError

OWN = ("reason", "calibration", "controllers", "eval", "rl")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports that need this extra: says how to install what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in OWN:
            raise
        raise UsageError(
            f'{missing} is needed for that and not installed: pip install "reason-engine[{name}]"'
        ) from None
