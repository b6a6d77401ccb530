"""The runs on the page of a report, in Chromium: threads, what they wrote, what was decided."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import msgspec
import pytest

from eval.samples import Sample, read_samples
from eval.trees import Tree, read_trees
from reason.events import Noted, Tokens
from tests.browser import Browser
from tests.evaluation import problems
from tests.reported import LABELS, METHODS, evaluate, evaluations, printed, rows


def tree_of(name: str, row: Sample) -> Tree:
    trees = read_trees(evaluations() / name / "trees.jsonl")
    return next(tree for tree in trees if tree.key == row.key)


@pytest.mark.parametrize("name", METHODS)
def test_every_run_opens_with_its_tree(browser: Browser, page: Path, name: str) -> None:
    """The threads, what each wrote, its tokens and what was decided; of all runs of a method."""
    browser.show(page)
    label, number = LABELS[name], list(METHODS).index(name)
    ids = browser.run("return data.tasks[0].problems.map((p) => p.id)")
    for row in rows()[label]:
        run = f"run=0.{ids.index(row.id)}.{number}.{row.repeat}"
        browser.run(f"location.hash = '{run}'")
        browser.wait(
            f"return document.querySelector('.body')?.dataset.run === '{number}/{row.repeat}' && "
            f"document.querySelector('#run-title').textContent === {json.dumps(row.id)} && "
            "document.querySelectorAll('[role=option][aria-selected=true]').length === 1"
        )
        verdict = browser.run("return document.querySelector('.verdict').textContent")
        assert verdict == f"{'✓ right' if row.correct else '✗ wrong'} {row.answer or 'no answer'}"
        events = tree_of(name, row).events
        wrote: dict[str, str] = {}
        for event in events:
            if isinstance(event, Tokens):
                wrote[event.thread] = wrote.get(event.thread, "") + event.text
        found = browser.run(
            "return [...document.querySelectorAll('[role=option]')].flatMap((line) => {"
            "line.dispatchEvent(new MouseEvent('click')); return "
            "[...document.querySelectorAll('.detail article')].map((a) => ["
            "a.querySelector('h3').textContent.replace('thread ', ''), "
            "[...a.querySelectorAll('pre')].map((p) => p.textContent).join('')])})"
        )
        assert len(found) == len(wrote) and dict(found) == wrote
        facts = browser.run("return document.querySelector('dialog dl').textContent")
        assert f"total{row.total_tokens:,} tokens" in facts
        assert f"critical path{row.critical_path:,} tokens" in facts
        decided = browser.run(
            "return [...document.querySelectorAll('.decisions li')].map((l) => "
            "[l.querySelector('button').textContent, l.querySelector('b').textContent])"
        )
        notes = [(e.thread, e.name) for e in events if isinstance(e, Noted)]
        assert sorted(map(tuple, decided)) == sorted(notes)
    assert browser.errors() == []


def test_a_vote_stands_there_with_its_share(browser: Browser, page: Path) -> None:
    row = next(row for row in rows()["self_consistency"] if row.answer)
    (vote,) = [e for e in tree_of("vote", row).events if isinstance(e, Noted)]
    browser.show(page)
    index = browser.run("return data.tasks[0].problems.map((p) => p.id)").index(row.id)
    browser.show(page, at=f"run=0.{index}.2.{row.repeat}")
    said = browser.wait("return document.querySelector('.decisions li')?.textContent")
    share = f"{vote.value['share']:.4g}"
    assert said == f"{row.critical_path}0vote answer {vote.value['answer']}, share {share}"


def test_the_clock_in_tokens_and_in_seconds(browser: Browser, page: Path) -> None:
    browser.show(page, at="run=0.0.0.0")
    browser.wait("return document.querySelector('.ruler')")
    bars = (
        "return [...document.querySelectorAll('.line')].map((line) => "
        "[...line.querySelectorAll('rect')].map((r) => r.getAttribute('width')).join())"
    )
    tokens = browser.run(bars)
    browser.run("document.querySelector('input[value=seconds]').click()")
    browser.wait("return document.querySelector('.ruler text').textContent === 'seconds'")
    assert len(browser.run(bars)) == len(tokens) and browser.run(bars) != tokens


EVIL = (
    "</script><!--<script><img src=x onerror=\"document.title='evil'\">\u202e\u2028${1}@STYLE@\x07"
)


def test_what_a_model_writes_is_text(browser: Browser, tmp_path: Path) -> None:
    """In ids, answers, errors, threads and decisions: nothing of it becomes markup or script."""
    copytree(evaluations() / "vote", tmp_path / "in" / "vote")
    place = tmp_path / "in" / "vote"
    samples = [
        msgspec.structs.replace(row, id=row.id + EVIL, answer=EVIL, error=EVIL)
        for row in read_samples(place / "samples.jsonl").values()
    ]
    trees = [
        Tree(
            id=tree.id + EVIL,
            repeat=tree.repeat,
            events=[
                msgspec.structs.replace(event, text=EVIL)
                if isinstance(event, Tokens)
                else msgspec.structs.replace(event, name=EVIL, value={EVIL: [EVIL]})
                if isinstance(event, Noted)
                else event
                for event in tree.events
            ],
        )
        for tree in read_trees(place / "trees.jsonl")
    ]
    for name, lines in (("samples.jsonl", samples), ("trees.jsonl", trees)):
        data: list[Any] = list(lines)
        (place / name).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in data))
    config = json.loads((place / "config.json").read_text())
    config["task"] = config["controller"]["name"] = EVIL
    (place / "config.json").write_text(json.dumps(config))
    printed([tmp_path / "in"], tmp_path / "out")
    browser.show(tmp_path / "out" / "report.html", at="run=0.0.0.0")
    browser.wait("return document.querySelectorAll('[role=option]').length > 0")
    assert browser.run("return document.title") == "Evaluation report"
    assert browser.run("return document.querySelectorAll('img, iframe, [onerror]').length") == 0
    shown = EVIL.replace("\u202e", "⟨U+202E⟩").replace("\x07", "␇")
    text = browser.run("return document.querySelector('.detail pre').textContent")
    assert text == shown
    assert shown in browser.run("return document.querySelector('.decisions').textContent")
    assert browser.errors() == []


def test_a_tree_that_is_left_out_is_said_to_be(browser: Browser, tmp_path: Path) -> None:
    printed([evaluations()], tmp_path, trees=5)
    browser.show(tmp_path / "report.html")
    assert "This page has 5 of 36 thread trees" in browser.run("return document.body.textContent")
    found = []
    for problem in range(6):
        for method in range(3):
            browser.run(f"location.hash = 'run=0.{problem}.{method}.1'")
            found.append(
                browser.wait(
                    f"return document.querySelector('.body')?.dataset.run === '{method}/1' && "
                    f"document.querySelector('#run-title').textContent === data.tasks[0]"
                    f".problems[{problem}].id && (document.querySelector('.holder') ? 'tree' : "
                    "document.querySelector('.tree').textContent.includes('is not on this page') "
                    "&& 'none')"
                )
            )
    assert found.count("tree") <= 5 and found.count("none") >= 13
    assert browser.errors() == []


def test_without_trees_and_without_seconds(browser: Browser, tmp_path: Path) -> None:
    evaluate(tmp_path / "in", METHODS["single"], problems(3), trees=False, repeats=1)
    (tmp_path / "in" / "timing.json").unlink()
    (tmp_path / "in" / "times.jsonl").unlink()
    printed([tmp_path / "in"], tmp_path / "out")
    browser.show(tmp_path / "out" / "report.html", at="run=0.0.0.0")
    browser.wait(
        "return /No thread trees were kept/.test(document.querySelector('.tree').textContent)"
    )
    text = browser.run("return document.querySelector('main').textContent")
    assert "No thread trees were kept." in text and "Not known" in text
    assert browser.errors() == []
