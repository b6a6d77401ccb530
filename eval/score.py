"""What of two evaluations is compared."""

import re
from dataclasses import dataclass
from typing import Literal

from reason.errors import UsageError


@dataclass(frozen=True, slots=True)
class Score:
    """What is compared: the share of right samples, or what k of a question's samples are worth."""

    name: Literal["avg", "pass", "maj"] = "avg"
    k: int = 1

    def __str__(self) -> str:
        return self.name if self.name == "avg" else f"{self.name}@{self.k}"


AVG = Score()


def parse_score(text: str) -> Score:
    """ "avg", "pass@4", "maj@8". Raises UsageError for anything else."""
    found = re.fullmatch(r"(pass|maj)@([1-9][0-9]{0,8})", text)
    if found:
        return Score("pass" if found[1] == "pass" else "maj", int(found[2]))
    if text == "avg":
        return AVG
    raise UsageError(f"score must be avg, pass@K or maj@K, such as maj@4, got {text!r}")
