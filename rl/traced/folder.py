"""The folder of a run of `reason train traces`.

* config.json      what is made of what; a folder goes on with the same only
* steps.jsonl      one row for each step of each item that is finished, appended at once
* examples.jsonl   the examples, there before the row of their last step; in the order of the items
                   once all are finished
* statistics.json  a function of these rows
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import msgspec

from eval.folder import conflicts, write_json
from eval.jsonl import MEND, JsonLines, read_line, read_lines
from reason.errors import UsageError
from rl.traced.done import LAST, Done
from rl.traced.example import Example
from rl.traced.statistics import Statistics, statistics
from rl.traced.teacher import Spent


class Named(msgspec.Struct):
    """An example of which nothing but its id is read."""

    id: str


_DONE, _NAMED = msgspec.json.Decoder(Done), msgspec.json.Decoder(Named)
_ROW = "such a row"


class Folder:
    """Rows by item and step. Raises UsageError for a folder that holds something else."""

    def __init__(self, out: Path, config: Mapping[str, Any]) -> None:
        self.out = out
        self.done: dict[str, dict[str, Done]] = {}
        with ExitStack() as files:
            self._steps = files.enter_context(JsonLines[Done](out / "steps.jsonl"))
            self._examples = files.enter_context(JsonLines[Example](out / "examples.jsonl"))
            for line in read_lines(self._steps.path):
                row = line.decoded(_DONE, _ROW, MEND)
                self.done.setdefault(row.id, {})[row.step] = row
            self._settle(out / "config.json", config)
            self._files = files.pop_all()

    def steps(self, id: str, digest: str) -> dict[str, Done]:
        """What is finished of an item. Raises UsageError if it was another one then."""
        found = self.done.get(id, {})
        for row in found.values():
            if row.digest != digest:
                raise UsageError(
                    f"{id!r} has changed since {self.out} was begun: give another folder, or the "
                    "rows as they were"
                )
        return found

    def finished(self, id: str) -> bool:
        """Whether an item has become an example, or been dropped."""
        found = self.done.get(id, {})
        return LAST in found or any(row.drop for row in found.values())

    def add(
        self,
        id: str,
        step: str,
        digest: str,
        value: Any,
        spent: Spent,
        drop: tuple[str, str] | None,
    ) -> Done:
        """Put a finished step on record; `drop` is a reason and its detail."""
        reason, detail = drop or (None, "")
        row = Done(
            id=id, step=step, digest=digest, value=value, drop=reason, detail=detail,
            requests=spent.requests, prompt_tokens=spent.prompt_tokens,
            sampled_tokens=spent.sampled_tokens,
        )  # fmt: skip
        self._steps.append(row)
        self.done.setdefault(id, {})[step] = row
        return row

    def keep(self, example: Example) -> None:
        """Write an example down, before the row of its last step."""
        self._examples.append(example)

    def finish(
        self, items: Iterable[str], kept: Sequence[str], unit: str, questions: int
    ) -> Statistics:
        """Put the examples `kept` into their order, and all that became of `items` into figures;
        `questions` is how many of evaluations were looked for."""
        self._arrange(kept)
        found = statistics(
            {id: self.done[id] for id in items if id in self.done}, kept, unit, questions
        )
        write_json(self.out / "statistics.json", found)
        return found

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _arrange(self, kept: Sequence[str]) -> None:
        """Put the examples into this order, and leave out all others; of two of one id, the later
        stays."""
        path = self._examples.path
        found: list[str] = []
        places: dict[str, tuple[int, int]] = {}
        for line in read_lines(path):
            id = line.decoded(_NAMED, _ROW, MEND).id
            found.append(id)
            places[id] = line.start, line.number
        wanted = [id for id in kept if id in places]
        if found != wanted:
            lines = (read_line(path, *places[id]) for id in wanted)
            self._examples.replace(line.data + b"\n" for line in lines)

    def _settle(self, path: Path, config: Mapping[str, Any]) -> None:
        if not path.exists():
            if self.done:
                raise UsageError(f"{self.out} holds steps but no config.json: give another folder")
            write_json(path, config)
        elif wrong := conflicts(path, config, ()):
            raise UsageError(
                f"{self.out} holds examples made in another way; what differs: {', '.join(wrong)}. "
                "Give the same options to go on, or another folder."
            )
