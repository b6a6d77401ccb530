"""Under what an evaluation ran: versions, hardware, the commit, what the models promise."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eval.folder import read_json, write_json
from reason.backends.base import Backend

PACKAGES = ("reason-engine", "numpy", "scipy", "torch", "transformers")
_ROOT = Path(__file__).resolve().parent.parent


def add_session(path: Path, backends: Mapping[str, Backend]) -> None:
    """Record one start of the evaluation; a resumed one has a session for every start."""
    manifest = read_json(path) or {"sessions": []}
    write_json(path, {"sessions": [*manifest["sessions"], session(backends)]})


def session(backends: Mapping[str, Backend]) -> dict[str, Any]:
    """One start of an evaluation: when, under what, and when its results can be reproduced."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "commit": _git("rev-parse", "HEAD") or None,
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "reproducible": {role: b.info.reproducible for role, b in backends.items()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _git(*words: str) -> str:
    if not (_ROOT / ".git").exists():  # an installed package, perhaps inside a foreign repository
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
