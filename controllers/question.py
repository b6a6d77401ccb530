"""Which question a prompt asks: what calibration and test must not share."""

import hashlib
import json

from reason.types import Prompt, spoken


def question_id(prompt: Prompt) -> str:
    """The same for the same prompt, on every machine."""
    said = spoken(prompt)
    text = said if isinstance(said, str) else json.dumps(list(said), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
