"""Questions with reference answers, read from the Hub or from a file, checked row by row."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from eval.graders import GRADERS, grade
from eval.item import Item
from eval.rows import Row, from_file, from_hub
from reason.errors import UsageError

PROBLEM = ("problem", "Problem", "question", "Question")
ANSWER = ("answer", "Answer")
GROUP = "group"
ID = ("id", "unique_id", "problem_idx", "ID", "Record ID")
LETTERS = "ABCD"

Reader = Callable[[Row, str], tuple[str, str]]
"""The text of a question and its reference answer, from a row and its id."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the answer that is right."""

    id: str
    text: str
    reference: str
    refusal: str | None
    """Why no answer can be held against the reference; None for a good one."""
    group: str = ""
    """What the question is a variant of, as a column of that name says."""


def plain(row: Row, id: str) -> tuple[str, str]:
    """A problem and its answer, each in a column."""
    return row.text(*PROBLEM), row.answer(*ANSWER)


def worked(row: Row, id: str) -> tuple[str, str]:
    """GSM8K: the answer stands at the end of a solution, behind ####."""
    solution = row.text(*ANSWER)
    _, mark, answer = solution.rpartition("####")
    if not mark:
        raise UsageError(
            f"{row.where}: the answer must end in '#### NUMBER', got {solution[-60:]!r}"
        )
    return row.text(*PROBLEM), answer.strip()


def choices(row: Row, id: str) -> tuple[str, str]:
    """GPQA: the right choice and three wrong ones, in an order that depends on the id only."""
    right = row.text("Correct Answer")
    options = [right, *(row.text(f"Incorrect Answer {number}") for number in (1, 2, 3))]
    order = list(range(4))
    random.Random(f"choices/{id}").shuffle(order)
    listed = "\n".join(f"{LETTERS[at]}) {options[of]}" for at, of in enumerate(order))
    text = f"{row.text(*PROBLEM)}\n\n{listed}\n\nAnswer with the letter of the right choice."
    return text, LETTERS[order.index(0)]


@dataclass(frozen=True)
class Dataset:
    """Questions of a set on the Hub, or of a file with the same columns."""

    name: str
    hub: str = ""
    revision: str = ""
    split: str = "train"
    rows: int | None = None
    """How many it must have; None for any number."""
    config: str | None = None
    grader: str = "math"
    repeats: int = 1
    """How often each is asked where nothing else is said."""
    read: Reader = plain
    file: Path | None = None
    """Where to read it instead of the Hub."""

    def items(self, limit: int | None, seed: int, grammar: str) -> Iterator[Item]:
        """The first `limit` questions, which do not depend on the seed. Raises UsageError for rows
        that cannot be used, and for a model that reads nothing but Countdown."""
        if grammar == "countdown":
            raise UsageError(
                f"this model reads Countdown problems only, not {self.name}; connect a general "
                "model: --backend hf:PATH_OR_HUB_ID"
            )
        for question in islice(self.questions(), limit):
            yield _item(question, self.grader)

    def questions(self) -> tuple[Question, ...]:
        """All of them, checked; read once."""
        changed = self.file.stat().st_mtime_ns if self.file and self.file.exists() else 0
        return _questions(self, changed)

    def describe(self) -> dict[str, str]:
        """Where it comes from, and a digest of all that is asked and all that is right."""
        source = self.file.name if self.file else f"{self.hub}@{self.revision}"
        groups = [(q.group,) if q.group else () for q in self.questions()]
        asked = [(q.id, q.text, q.reference) for q in self.questions()]
        parts = [(*one, *group) for one, group in zip(asked, groups, strict=True)]
        data = json.dumps([self.grader, parts], ensure_ascii=False).encode()
        return {"source": source, "sha256": hashlib.sha256(data).hexdigest()}


def _item(question: Question, grader: str) -> Item:
    def fault(answer: str | None) -> str | None:
        return grade(GRADERS[grader], answer, question.reference)

    slow = grader == "math"
    return Item(
        question.id,
        question.text,
        question.text,
        fault,
        slow=slow,
        refusal=question.refusal,
        group=question.group,
    )


@lru_cache(maxsize=16)
def _questions(dataset: Dataset, changed: int) -> tuple[Question, ...]:
    if dataset.file:
        rows = list(from_file(dataset.file))
    else:
        try:
            rows = list(from_hub(dataset.hub, dataset.config, dataset.split, dataset.revision))
        except UsageError as error:
            raise UsageError(
                f"{error}; try again with a network, or give a copy: {dataset.name}@FILE.jsonl. "
                "(A set that is gated needs HF_TOKEN, and its terms accepted on its page.)"
            ) from error
    source = dataset.file or dataset.hub
    if not rows:
        raise UsageError(f"{source} holds no questions; expected one in each row")
    if dataset.rows is not None and len(rows) != dataset.rows:
        raise UsageError(
            f"{source} has {len(rows)} rows, expected the {dataset.rows} of "
            f"{dataset.name}; give a part of it as a file of its own, not as {dataset.name}"
        )
    found: dict[str, tuple[Row, Question]] = {}
    for number, row in enumerate(rows, 1):
        known = [column for column in ID if column in row.values]
        id = row.answer(*known) if known else str(number)
        if id in found:
            raise UsageError(f"{row.where}: the id {id!r} is taken by {found[id][0].where}")
        text, reference = dataset.read(row, id)
        refusal = GRADERS[dataset.grader].refusal(reference) if reference else "it is empty"
        group = row.answer(GROUP) if row.values.get(GROUP) is not None else ""
        found[id] = row, Question(id, text, reference, refusal, group)
    return tuple(question for _, question in found.values())
