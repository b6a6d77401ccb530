"""Step five, self-training: what an evaluation with threads got right, as it was written.

Lian et al. 2025, section 4.2: the model runs with the method itself, and runs that are right and
well-formed are what it learns next. No text is cut into tokens again: the requests are those of the
thread trees that were kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from controllers.threadweaver import ThreadWeaver
from eval.folder import GROWS
from eval.folders import Evaluation, read_evaluations
from eval.samples import Sample
from eval.trees import Trees
from reason.errors import UsageError
from reason.tree import ThreadTree
from rl.traced.contamination import Evaluations
from rl.traced.done import LAST, Done
from rl.traced.example import Figures, example_of
from rl.traced.folder import Folder
from rl.traced.options import Options
from rl.traced.steps import CONTAMINATED, check_limits, drawn
from rl.traced.teacher import Spent
from rl.traced.unusable import Unusable
from rl.traced.wellformed import read_blocks


@dataclass(frozen=True)
class SelfTraining:
    """The samples of one evaluation, and what examples of them must be like."""

    evaluation: Evaluation
    trees: Trees
    options: Options
    evaluations: Evaluations

    @classmethod
    def of(cls, path: Path, options: Options, evaluations: Evaluations) -> "SelfTraining":
        """Raises UsageError for a folder without an evaluation of threadweaver, or without the
        trees of its runs."""
        found = read_evaluations([path])
        if len(found) > 1:
            places = ", ".join(str(one.path) for one in found)
            raise UsageError(f"{path} holds {len(found)} evaluations; give one of: {places}")
        [evaluation] = found
        name = evaluation.config["controller"]["name"]
        if name != ThreadWeaver.name:
            raise UsageError(
                f"{path} is an evaluation of {name}; examples with threads come from one of "
                f"{ThreadWeaver.name}: reason eval … -c {ThreadWeaver.name}"
            )
        if evaluation.trees is None:
            raise UsageError(f"{path} holds no thread trees: it was made with trees=false")
        return cls(evaluation, Trees(evaluation.trees), options, evaluations)

    @property
    def source(self) -> dict[str, Any]:
        """The evaluation, as a folder of examples knows it; it may be given more questions."""
        return {key: value for key, value in self.evaluation.config.items() if key not in GROWS}

    @property
    def items(self) -> list[str]:
        """Ids of the samples."""
        return [_id(row) for row in self.evaluation.rows]

    def run(self, folder: Folder, on_step: Callable[[Done], object]) -> list[str]:
        """Look at every sample that was not looked at, and say which examples are kept."""
        for row in self.evaluation.rows:
            id, digest = _id(row), blake2b(msgspec.json.encode(row), digest_size=8).hexdigest()
            if folder.steps(id, digest):
                continue
            drop, value = None, None
            try:
                value = msgspec.to_builtins(self._example(row, id, folder))
            except Unusable as error:
                drop = error.reason, error.detail
            on_step(folder.add(id, LAST, digest, value, Spent(), drop))
        return self.kept(folder.done)

    def kept(self, done: Mapping[str, Mapping[str, Done]]) -> list[str]:
        """Of each question the fastest runs, as many as are wanted; of equal ones the first."""
        good: dict[str, list[tuple[float, int, str]]] = {}
        for row in self.evaluation.rows:
            last = done[_id(row)][LAST]
            if last.drop is None:
                figures = msgspec.convert(last.value, Figures)
                mine = good.setdefault(row.id, [])
                mine.append((-figures.acceleration, row.repeat, _id(row)))
        each = self.options.each or None
        chosen = {id for runs in good.values() for _, _, id in sorted(runs)[:each]}
        return [_id(row) for row in self.evaluation.rows if _id(row) in chosen]

    def _example(self, row: Sample, id: str, folder: Folder) -> Figures:
        if not row.correct:
            raise Unusable("wrong answer")
        if row.failed or row.error:
            raise Unusable("a thread failed", row.error or "")
        if row.key not in self.trees:
            raise Unusable("without a tree")
        tree = ThreadTree.replay(self.trees[row.key].events)
        _check_end(tree)
        text = tree.root.text
        blocks = read_blocks(text)
        if not blocks and not drawn(row.id, self.options.sequential):
            raise Unusable("without a block", f"not among the share {self.options.sequential:g}")
        prompt = tree.root.segments[0].text
        if name := self.evaluations.overlap(prompt, text):
            raise Unusable(CONTAMINATED, name)
        name = self.evaluation.config["backends"]["policy"].get("tokenizer", "")
        example = example_of(id, prompt, tree, str(name))
        check_limits(example.figures, self.options)
        folder.keep(example)
        return example.figures


def _check_end(tree: ThreadTree) -> None:
    """Raise Unusable for a run in which anything was cut off or mended."""
    for thread in tree:
        last = thread.segments[-1].finish if thread.segments else None
        if last not in ("eos", "stop"):
            raise Unusable("cut off", f"thread {thread.id} ended with {last}")
    if tree.root.segments[-1].finish != "eos":
        raise Unusable("cut off", "the answer has no end")
    if notes := [note for note in tree.notes if note.name in ("unclosed", "outlines")]:
        raise Unusable("malformed", f"{notes[0].name} in thread {notes[0].thread}")


def _id(row: Sample) -> str:
    return f"{row.id}/{row.repeat}"
