"""What `--replay` names: the folder of an evaluation, or a file of recorded answers.

A file of answers has one problem a row: `problem` and `answer` (the right one), as in any file of
questions, and `samples`, a list of objects with `text` and, where known, `reward` (the scorer
"recorded"), `seconds` from the request to the last token, `wait` to the first, and `finish`, "eos"
or "length". Its tokens are words: no tokenizer is known.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from eval.folder import read_json
from eval.questions import Dataset
from eval.recording import Recording
from eval.rows import SUFFIXES, Row, from_file
from eval.tasks import Asked, parse_tasks, task_of
from eval.trees import NAME, read_trees
from reason.backends.base import Info
from reason.backends.pieces import Pieces
from reason.backends.replay import Codec, Recorded
from reason.errors import UsageError
from reason.extras import extra
from reason.types import Finish

ENDS: tuple[Finish, ...] = ("eos", "length")
WHOLE = ("single", "self_consistency", "best_of_n", "adaptive_consistency")
"""Methods that ask the problem itself and nothing else, each time for a whole answer."""
UNLIMITED = 1 << 30
"""Tokens of a context of which no limit is known."""


@dataclass(frozen=True)
class Archive:
    """Recorded answers, and the questions they answer."""

    recording: Recording
    task: Asked
    questions: int
    """How many were asked, the first of the task."""
    problems_seed: int
    source: dict[str, str]
    """Its name and digest: what an evaluation must know of it to be gone on with."""
    scorers: tuple[str, ...]
    """Scores that can be had of the answers."""
    file: Path | None = None
    """The file, of answers of which no context is known."""
    unrated: str | None = None
    """Where the first answer of a file stands that has no reward, and how many have none."""

    def check(self, method: str, scorer: str | None) -> None:
        """Raise UsageError for a method that a file of answers cannot be served to, and for the
        scorer "recorded" where a reward is missing."""
        if self.file and method not in WHOLE:
            raise UsageError(
                f"{self.file} holds whole answers to each problem, and {method} asks for more than "
                f"that: what works on such a file is {', '.join(WHOLE)}; for {method}, record an "
                "evaluation of it and replay its folder"
            )
        if scorer == "recorded" and self.unrated:
            raise UsageError(
                f"{self.unrated}, and scorer=recorded needs one with every answer: add it, or take "
                "scorer=verifier"
            )

    def limit(self, asked: int | None) -> int:
        """How many questions are asked now. Raises UsageError for more than there are."""
        if asked is not None and asked > self.questions:
            raise UsageError(
                f"limit must be at most {self.questions}, the questions on record, got {asked}"
            )
        return asked or self.questions


def open_archive(path: Path, task: str) -> Archive:
    """Read all that was recorded for `task`, which may be empty: then it is the recorded one, once.

    Raises UsageError for what is no recording, or one of another task.
    """
    held = path / NAME if path.is_dir() else path
    return _opened(path, task, held.stat().st_mtime_ns if held.exists() else 0)


@lru_cache(maxsize=2)  # the cells of a sweep share one
def _opened(path: Path, task: str, changed: int) -> Archive:
    if path.is_dir():
        return _folder(path, task)
    if path.suffix not in SUFFIXES or not path.exists():
        raise UsageError(
            f"{path} is no recording: expected the folder of an evaluation, or a file of answers "
            f"that ends in {' or '.join(SUFFIXES)}"
        )
    return _file(path, task)


def refuse_models(tables: Mapping[str, Any]) -> None:
    """Raise UsageError for options that a recording answers for itself."""
    for key in ("backend", "backends", "problems_seed"):
        if tables.get(key):
            raise UsageError(f"a replay has the models and problems of its recording: no {key}")


def _folder(path: Path, task: str) -> Archive:
    config = read_json(path / "config.json")
    if config is None:
        below = sorted(found.parent.name for found in path.glob("*/config.json"))
        raise UsageError(
            f"{path} holds no evaluation (no config.json)"
            + (f"; there is one in each of: {', '.join(below)}" if below else "")
        )
    if not (path / NAME).exists():
        raise UsageError(
            f"{path} holds no {NAME}: nothing can be replayed of an evaluation with trees=false"
        )
    try:
        title, limit, seed = config["task"], config["limit"], config["problems_seed"]
        infos = {role: _info(spec) for role, spec in config["backends"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}/config.json lacks {error}: was it made by hand?") from None
    asked = _asked(path, task, title)
    data = task_of(asked.name).describe()
    if data.get("sha256") != config.get("data", {}).get("sha256"):
        raise UsageError(f"{path} was recorded on other questions than {asked.name} has now")
    codecs = {role: _tokenizer(info) for role, info in infos.items()}
    recording = Recording(codecs, infos)
    likelihoods = True
    for tree in read_trees(path / NAME):
        likelihoods &= recording.add(tree)
    scorers = ("verifier", "likelihood") if likelihoods else ("verifier",)
    return Archive(recording, asked, limit, seed, _source(path, path / NAME), scorers)


def _asked(path: Path, task: str, title: str) -> Asked:
    """The task as it is asked for now, which must be the one of that title."""
    try:
        found = parse_tasks(task or title)
    except UsageError as error:
        if task:
            raise
        raise UsageError(
            f"{path} was recorded on questions called {title}, from a file: give it, too, for "
            f"example: reason eval my/{title}.jsonl --replay {path}"
        ) from error
    if [one.title for one in found] != [title]:
        raise UsageError(f"{path} has answers to {title} only, not to {task}")
    once = Asked(found[0].name, 1, title, title)
    return found[0] if task else once


def _info(spec: Mapping[str, Any]) -> Info:
    """A model as config.json describes it."""
    return Info(
        model=spec["model"],
        tokenizer=spec["tokenizer"],
        context=spec["context"],
        vocabulary=UNLIMITED,
        reproducible="always",
        grammar=spec["grammar"],
        fingerprint=spec["fingerprint"],
    )


def _tokenizer(info: Info) -> Codec:
    if info.tokenizer == "text":
        raise UsageError(
            f"{info.model} was recorded over an interface without token ids, which no method can "
            "be replayed on: write its answers into a file instead, a row for each problem"
        )
    with extra("hf"):
        from reason.backends.tokenizer import Tokenizer, load_tokenizer
    shipped = Path(str(files("reason") / "models")) / info.tokenizer
    found = load_tokenizer(str(shipped) if shipped.is_dir() else info.tokenizer)
    return Tokenizer(found, info.model)


def _file(path: Path, task: str) -> Archive:
    asked = parse_tasks(task or str(path))
    questions = task_of(asked[0].name)
    if len(asked) > 1 or not isinstance(questions, Dataset) or questions.file != path:
        raise UsageError(f"{path} has answers to its own questions only, not to {task}")
    words = Pieces()
    info = Info(path.stem, "words", UNLIMITED, UNLIMITED, "always", scores=False)
    recording = Recording({"policy": words}, {"policy": info})
    asked_of, bare = questions.questions(), list[str]()
    for question, row in zip(asked_of, from_file(path), strict=True):
        given = [_sample(row, number, one) for number, one in enumerate(_samples(row), 1)]
        runs = recording.found.setdefault(question.id, {})
        for number, (text, answer, reward) in enumerate(given):
            ids = tuple(words.encode(text))
            runs[number] = [("policy", Recorded(ids, **answer))]
            if reward is None:
                bare.append(f"{row.where}, sample {number + 1}")
            else:
                recording.rewards.setdefault(question.id, {})[words.decode(ids)] = reward
    unrated = None
    if bare:
        others = f", as {len(bare) - 1:,} more have none" if len(bare) > 1 else ""
        unrated = f"{bare[0]}: there is no reward{others}"
    scorers = ("verifier", "recorded")
    source = _source(path, path)
    return Archive(recording, asked[0], len(asked_of), 0, source, scorers, path, unrated)


def _samples(row: Row) -> list[Any]:
    found = row.value("samples")
    if not isinstance(found, list) or not found:
        raise UsageError(f"{row.where}: samples must be a list of at least one answer")
    return found


def _sample(row: Row, number: int, given: Any) -> tuple[str, dict[str, Any], float | None]:
    """Text, what else is known of the answer, and its reward."""
    where = f"{row.where}, sample {number}"
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}: expected an object with a text, got {given!r:.60}")
    text = given.get("text")
    if not isinstance(text, str) or not text:
        raise UsageError(f"{where}: text must be a text that is not empty, got {text!r:.60}")
    seconds = _number(where, given, "seconds") or 0.0
    wait = _number(where, given, "wait") or 0.0
    if not 0 <= wait <= seconds:
        raise UsageError(f"{where}: wait must be 0 to seconds ({seconds:g}), got {wait:g}")
    finish = given.get("finish", "eos")
    if finish not in ENDS:
        raise UsageError(f"{where}: finish must be {' or '.join(ENDS)}, got {finish!r}")
    known = {"seconds": seconds, "wait": wait, "finish": finish}
    return text, known, _number(where, given, "reward")


def _number(where: str, given: Mapping[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise UsageError(f"{where}: {key} must be a finite number, got {value!r:.60}")
    return float(value)


def _source(path: Path, file: Path) -> dict[str, str]:
    with file.open("rb") as data:
        return {
            "source": path.resolve().name,
            "sha256": hashlib.file_digest(data, "sha256").hexdigest(),
        }
