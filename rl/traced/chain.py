"""Sequential chains: rows of a file, and the paragraphs that their thinking consists of."""

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from eval.rows import Row, from_file
from reason.errors import UsageError
from reason.types import Message, Prompt, spoken
from rl.traced.unusable import Unusable
from rl.traced.wellformed import TAG

_GAP = re.compile(r"\n[ \t]*\n\s*")
_THINKING, _THOUGHT = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Chain:
    """What a model wrote, in one thread, when it was asked `prompt`."""

    id: str
    prompt: Prompt
    """The problem, without any words of a method."""
    text: str
    answer: str | None = None
    """The right answer, where it is known."""

    @property
    def problem(self) -> str:
        """The prompt as text; of a chat all that was said."""
        said = spoken(self.prompt)
        return said if isinstance(said, str) else "\n\n".join(each["content"] for each in said)

    @property
    def digest(self) -> str:
        """Of all that the examples made of it depend on."""
        parts = msgspec.json.encode([self.prompt, self.text, self.answer])
        return blake2b(parts, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Paragraphs:
    """A chain in pieces, which put together are the chain again, character by character."""

    head: str
    """What opens the thinking, and white space; may be empty."""
    parts: tuple[str, ...]
    """The thinking, each part with the white space behind it."""
    tail: str
    """From the end of the thinking on. A chain without one has its last paragraph here."""


def paragraphs(text: str) -> Paragraphs:
    """Cut a chain at its blank lines. Raises Unusable for one with less than two paragraphs, and
    for tags of the format in it, which would be taken for what they are not."""
    if found := TAG.search(text):
        raise Unusable("tags in the chain", f"{found[0]} at character {found.start()}")
    thought, closed, said = text.rpartition(_THOUGHT)
    body = thought if closed else text
    opened = re.match(rf"\s*(?:{_THINKING}\s*)?", body)
    start = opened.end() if opened else 0
    ends = [found.end() for found in _GAP.finditer(body, start)]
    if not ends or ends[-1] < len(body):
        ends.append(len(body))
    parts = [body[a:b] for a, b in zip([start, *ends[:-1]], ends, strict=True) if b > a]
    last = "" if closed or not parts else parts.pop()
    tail = closed + said if closed else last
    if not parts or not tail.strip():
        raise Unusable("nothing to divide", "the chain has less than two paragraphs")
    return Paragraphs(body[:start], tuple(parts), tail)


def read_chains(path: Path) -> list[Chain]:
    """The rows of a file: `id`, `prompt` (text, or a list of messages), `chain`, and `answer` where
    it is known. Raises UsageError naming the row for any other, for an id that is there twice, and
    for an empty file."""
    found: dict[str, Chain] = {}
    for row in from_file(path):
        id = row.answer("id")
        if not id or id in found:
            what = "there twice" if id else "empty"
            raise UsageError(f"{row.where}: the id {id!r} is {what}; each row needs one of its own")
        answer = row.answer("answer") if row.values.get("answer") is not None else None
        found[id] = Chain(id, _prompt(row), _text(row), answer)
    if not found:
        raise UsageError(f"{path} holds no chains; expected rows of id, prompt, chain and answer")
    return list(found.values())


def _text(row: Row) -> str:
    row.text("chain")  # says what is wrong with it
    return str(row.values["chain"])  # white space and all


def _prompt(row: Row) -> Prompt:
    value: Any = row.value("prompt")
    if not isinstance(value, list):
        return row.text("prompt")
    try:
        messages = msgspec.convert(value, list[Message])
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{row.where}: prompt must be a text or a list of messages with role and content: "
            f"{error}"
        ) from error
    if not messages:
        raise UsageError(f"{row.where}: prompt must hold a message, got an empty list")
    return messages
