"""A report as one page of HTML that needs nothing else: no network, no server, no other file.

What models wrote is data to it: JSON that cannot end its element, trees compressed, and a policy
(CSP) under which nothing runs but the page's own script.
"""

import gzip
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec

from eval.curves import curves
from eval.samples import Sample
from eval.selection import Question, questions, runs, telling
from eval.shapes import Manifest, read_checked
from eval.summary import COSTS, SHARES, Group, Summary, as_json
from eval.timeline import timeline
from eval.trees import Tree, Trees
from reason.errors import UsageError
from reason.watch import clean

TREES = 200
"""Trees on a page, if not told otherwise."""
PROBLEMS, ROWS = 1000, 20_000
"""Of a task, with their runs: beyond, a page is slow."""
BYTES = 32_000_000
"""That all trees together may take, compressed."""
ANSWER = 2000
"""Characters of an answer; all of it is in its tree."""
SCRIPTS = ("base", "chart", "scatter", "curve", "table", "grid", "text", "timeline", "run", "main")


@dataclass
class Page:
    """What of the evaluations fits on a page."""

    groups: Sequence[Group]
    currency: str | None = None
    limit: int = TREES
    """Trees at most, of all tasks together."""
    blocks: dict[str, bytes] = field(default_factory=dict)
    """Compressed JSON by the id of its element."""
    size: int = 0
    shown: int = 0
    kept: int = 0
    """Trees on the page, and all that there are."""

    def html(self) -> str:
        """The whole file."""
        tasks = [self._task(number, group) for number, group in enumerate(self.groups)]
        data = {
            "currency": self.currency,
            "costs": COSTS,
            "shares": SHARES,
            "labels": list(dict.fromkeys(s.label for g in self.groups for s in g.summaries)),
            "trees": {"shown": self.shown, "kept": self.kept},
            "tasks": tasks,
        }
        style, script = _asset("page.css"), "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
        blocks = "\n".join(
            f'<script type="text/plain" id="{name}">{b64encode(block).decode()}</script>'
            for name, block in self.blocks.items()
        )
        page = _asset("page.html")
        for name, text in {
            "STYLE-HASH": _hash(style),
            "SCRIPT-HASH": _hash(script),
            "STYLE": style,
            "SCRIPT": script,
            "BLOCKS": blocks,
            "DATA": embedded(data),  # last: nothing that was read is looked through
        }.items():
            page = page.replace(f"@{name}@", text, 1)
        return page

    def _task(self, number: int, group: Group) -> dict[str, Any]:
        found = questions(group.summaries)
        shown = telling(found)[:PROBLEMS]
        place = {question.id: index for index, question in enumerate(shown)}
        rows: list[list[list[Any]]] = [[] for _ in shown]
        trees = [Trees(s.evaluation.trees) if s.evaluation.trees else None for s in group.summaries]
        budget = ROWS
        share = self.limit // len(self.groups) + (number < self.limit % len(self.groups))
        for which, row in runs(shown):
            if budget:
                budget -= 1
                tree = self._tree(number, group.summaries[which], trees[which], row, share)
                share -= tree is not None
                shown_row = _row(which, row, group.summaries[which], tree)
                rows[place[row.id]].append(shown_row)
        self.kept += sum(
            of is not None and row.key in of
            for summary, of in zip(group.summaries, trees, strict=True)
            for row in summary.evaluation.rows
        )
        block = f"rows-{number}"
        self.blocks[block] = _packed(rows)
        return {
            **as_json(group),
            "about": [_about(summary) for summary in group.summaries],
            "curves": {cost: curves(group.summaries, cost) for cost in COSTS},
            "problems": [_counts(q, len(group.summaries)) for q in shown],
            "left_out": len(found) - len(shown),
            "rows": block,
            "rows_left_out": sum(len(s.evaluation.rows) for s in group.summaries)
            - sum(map(len, rows)),
        }

    def _tree(
        self, number: int, summary: Summary, trees: Trees | None, row: Sample, left: int
    ) -> str | None:
        """The element that holds the run's tree; None if it was not kept, or does not fit."""
        if left < 1 or trees is None or row.key not in trees or self.size >= BYTES:
            return None
        block = _packed(_timeline(trees, trees[row.key], row))
        if self.size + len(block) > BYTES and self.shown:
            return None
        name = f"tree-{number}-{self.shown}"
        self.blocks[name] = block
        self.size += len(block)
        self.shown += 1
        return name


def embedded(value: Any) -> str:
    """JSON that may stand in an element of script: nothing in it can end that."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _timeline(trees: Trees, tree: Tree, row: Sample) -> dict[str, Any]:
    try:
        return timeline(tree.events, row.thread, row.answer)
    except LookupError as error:
        raise UsageError(
            f"{trees.path}: the tree of {row.id!r}, repeat {row.repeat}, speaks of a thread or "
            f"segment that it never opened ({error}); remove that line"
        ) from error


def _row(which: int, row: Sample, summary: Summary, tree: str | None) -> list[Any]:
    """As the page's script reads it."""
    timed = summary.evaluation.times.get(row.key)
    answer = row.answer
    if answer is not None and len(answer) > ANSWER:
        answer = f"{answer[:ANSWER]}…"
    return [
        which,
        row.repeat,
        answer,
        row.correct,
        tree,
        row.critical_path,
        row.total_tokens,
        row.longest_sequence,
        row.prompt_tokens,
        row.cached_tokens,
        row.threads,
        row.peak_threads,
        timed and timed.seconds,
        timed and timed.ttft,
        row.finish,
        row.limit,
        row.error,
    ]


def _counts(question: Question, evaluations: int) -> dict[str, Any]:
    rows = [question.rows.get(number, ()) for number in range(evaluations)]
    return {
        "id": question.id,
        "right": [sum(row.correct for row in of) for of in rows],
        "of": [len(of) for of in rows],
    }


def _about(summary: Summary) -> dict[str, Any]:
    """Under what it ran."""
    evaluation = summary.evaluation
    manifest = read_checked(evaluation.path / "manifest.json", Manifest)
    return {
        "config": msgspec.json.format(msgspec.json.encode(evaluation.config)).decode(),
        "sessions": manifest.get("sessions", []),
        "trees": evaluation.trees is not None,
        "folder": clean(str(evaluation.path)),
    }


def _packed(value: Any) -> bytes:
    return gzip.compress(msgspec.json.encode(value), 6, mtime=0)


def _asset(name: str) -> str:
    return (files("eval") / "web" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
