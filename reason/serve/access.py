"""Keys that open a server. They are kept as digests, and are never written anywhere."""

import hashlib
import hmac
import os
from collections.abc import Collection
from pathlib import Path

from reason.errors import UsageError
from reason.serve.fault import Fault

VARIABLE = "REASON_API_KEYS"


def read_keys(file: Path | None) -> frozenset[bytes]:
    """Digests of the keys in a file, one on a line, and of those in the environment, with commas
    between them. Raises UsageError for a file that cannot be read or has none."""
    found = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the keys in {file}: {error}") from None
        inside = [line.strip() for line in lines if not line.lstrip().startswith("#")]
        if not any(inside):
            raise UsageError(f"there is no key in {file}; expected one on a line")
        found += inside
    return frozenset(digest(key) for key in found if key)


def digest(key: str) -> bytes:
    """Of one length for all keys, so that comparing two tells nothing of either."""
    return hashlib.sha256(key.encode()).digest()


def check_key(authorization: str | None, keys: Collection[bytes]) -> None:
    """Raise Fault unless the header has one of the keys, or none is wanted. Takes as long for any
    wrong one."""
    if not keys:
        return
    scheme, _, key = (authorization or "").partition(" ")
    given = digest(key.strip() if scheme.lower() == "bearer" else "")
    if sum(hmac.compare_digest(given, each) for each in keys):
        return
    said = "the API key is not right" if key else "an API key is missing"
    raise Fault(
        401,
        f"{said}: send the header Authorization: Bearer KEY",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )
