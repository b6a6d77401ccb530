"""Thread trees on disk: all that were written come back, whatever cut the writing short."""

from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from eval.tasks import task_of
from eval.trees import Tree, TreeFile, read_trees
from reason.condenser import Condenser
from reason.errors import UsageError
from reason.events import Event, Tokens
from reason.tree import ThreadTree
from tests.oracle import oracle
from tests.runs import Run, snapshot


async def _events() -> tuple[list[Event], list[Event]]:
    condenser = Condenser()
    item = next(task_of("countdown3").items(1, 0, "countdown"))
    model = oracle()
    model.chunk = 1
    run = Run(AdaptiveParallel(syntax="countdown"), model, item.prompt, sinks=[condenser])
    await run.go()
    return run.events, condenser.events


async def test_a_tree_comes_back_from_disk(tmp_path: Path) -> None:
    whole, brief = await _events()
    assert len(brief) < len(whole) / 2
    assert [e.since for e in brief if isinstance(e, Tokens) and e.since is not None]
    path = tmp_path / "trees.jsonl"
    with TreeFile(path) as file:
        file.append(Tree(id="a", repeat=0, events=brief))
        file.append(Tree(id="a", repeat=1, events=brief[:2]))
        file.append(Tree(id="a", repeat=1, events=brief))
    found = {tree.key: tree.events for tree in read_trees(path)}
    assert found == {("a", 0): brief, ("a", 1): brief}
    assert snapshot(ThreadTree.replay(found["a", 0])) == snapshot(ThreadTree.replay(whole))


def test_a_line_cut_short_is_cut_off_at_any_place(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    trees = [Tree(id=name, repeat=0, events=[]) for name in "abc"]
    with TreeFile(path) as file:
        for tree in trees:
            file.append(tree)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        whole = sum(end >= sum(map(len, lines[: n + 1])) for n in range(3))
        assert list(read_trees(path)) == trees[:whole]
        with TreeFile(path) as file:
            file.append(trees[2])
        assert path.read_bytes() == b"".join(lines[:whole]) + lines[2]


def test_a_long_line_cut_short_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_bytes(b'{"id":"a","repeat":0,"events":[]}\n' + b"x" * 300_000)
    with TreeFile(path):
        pass
    assert path.read_bytes() == b'{"id":"a","repeat":0,"events":[]}\n'


def test_what_is_no_tree_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_bytes(b'{"id":"a","repeat":0,"events":[]}\n{"id":1}\n')
    with pytest.raises(UsageError, match=r"trees\.jsonl, line 2: not a tree"):
        list(read_trees(path))
    with pytest.raises(UsageError, match=r"cannot read .*none\.jsonl: No such file"):
        list(read_trees(tmp_path / "none.jsonl"))
