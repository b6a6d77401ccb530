"""Thread trees on disk: of every run the last, and what is none is named."""

from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from eval.jsonl import JsonLines
from eval.tasks import task_of
from eval.trees import Tree, Trees, read_trees
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
    with JsonLines[Tree](path) as file:
        file.append(Tree(id="a", repeat=0, events=brief))
        file.append(Tree(id="a", repeat=1, events=brief[:2]))
        file.append(Tree(id="a", repeat=1, events=brief))
    found = {tree.key: tree.events for tree in read_trees(path)}
    assert found == {("a", 0): brief, ("a", 1): brief}
    assert snapshot(ThreadTree.replay(found["a", 0])) == snapshot(ThreadTree.replay(whole))


def test_a_tree_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    lines = [b'{"id":"a","repeat":0,"events":[7]}', b'{"id":"b","repeat":1,"events":[]}']
    path.write_bytes(b"\n".join([*lines, lines[1], b'{"id":"c","repea']))
    trees = Trees(path)
    assert len(trees) == 2 and ("a", 0) in trees and ("c", 0) not in trees
    assert trees["b", 1] == Tree(id="b", repeat=1, events=[])
    with pytest.raises(UsageError, match=r"trees\.jsonl, line 1: not a tree"):
        trees["a", 0]
    with pytest.raises(UsageError, match=r"trees\.jsonl, line 1: not a tree"):
        list(read_trees(path))


def test_what_is_no_tree_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_bytes(b'{"id":"a","repeat":0,"events":[]}\n{"id":1}\n')
    with pytest.raises(UsageError, match=r"trees\.jsonl, line 2: not a tree"):
        list(read_trees(path))
    with pytest.raises(UsageError, match=r"cannot read .*none\.jsonl: No such file"):
        list(read_trees(tmp_path / "none.jsonl"))
