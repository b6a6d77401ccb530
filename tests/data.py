"""Real data for tests: the folder that REASON_TEST_DATA names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_FOLDER = os.environ.get("REASON_TEST_DATA")
needs_data = pytest.mark.skipif(not _FOLDER, reason="REASON_TEST_DATA names no folder of data")


def path(name: str) -> Path:
    """A file of real data."""
    return Path(_FOLDER or "") / name


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file of real data."""
    with path(name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
