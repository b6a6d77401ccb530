"""The page of a report in Chromium: what it shows, by mouse and by keyboard, light and dark."""

import json
import re
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from eval.folders import read_evaluations
from eval.page import Page
from eval.summary import summarise
from tests.browser import Browser, require
from tests.evaluation import problems
from tests.reported import evaluations, rows

NARROW, WIDE = 360, 1280

READABLE = 4.5
"""Contrast that WCAG asks of text (level AA)."""


def focused(browser: Browser) -> str:
    return str(browser.run("return document.activeElement.ariaLabel ?? document.activeElement.id"))


@pytest.mark.parametrize("width", [320, NARROW, 768, WIDE, 2560])
@pytest.mark.parametrize("dark", [False, True])
def test_no_error_and_no_overflow(browser: Browser, page: Path, dark: bool, width: int) -> None:
    browser.show(page, dark=dark, width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.show(page, dark=dark, width=width, at="run=0.0.0.0")
    browser.wait("return document.querySelectorAll('[role=option]').length > 0")
    assert browser.run("return document.querySelector('dialog').scrollWidth") <= width
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.errors() == []


def test_errors_would_be_seen(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The negative control of those tests: a page of another script, and one that loads."""
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace('"tasks":[', '"tasks":[7,', 1))
    browser.show(page)
    browser.driver.get(broken.as_uri())
    (message,) = browser.errors(1)
    assert "TypeError" in message
    browser.driver.get(page.as_uri())
    browser.run("document.body.append(Object.assign(new Image(), {src: 'https://example.com/x'}))")
    browser.run("setTimeout('document.title = 1')")
    messages = browser.errors(2)
    assert len(messages) == 2 and all("Content Security Policy" in text for text in messages)


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_is_readable(browser: Browser, page: Path, dark: bool) -> None:
    browser.show(page, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    (worst, *_), ground = browser.contrasts("main"), "getComputedStyle(document.body)"
    assert worst[0] >= READABLE, worst
    bright = browser.run(f"return {ground}.backgroundColor") == "rgb(255, 255, 255)"
    assert bright is not dark
    for method in range(3):
        browser.show(page, dark=dark, at=f"run=0.0.{method}.0")
        browser.wait("return document.querySelectorAll('[role=option]').length > 0")
        (worst, *others) = browser.contrasts("dialog")
        assert worst[0] >= READABLE and len(others) > 20, worst
    browser.run(
        "document.querySelector('dialog h2').style.color = '#7a7a7a'"
    )  # the negative control
    assert browser.contrasts("dialog")[0][0] < READABLE


def test_the_figures_are_those_of_the_report(browser: Browser, page: Path) -> None:
    browser.show(page)
    (task,) = json.loads((page.parent / "report.json").read_text())["tasks"]
    table = browser.run(
        "return [...document.querySelectorAll('table')].map((t) => [t.caption.textContent, "
        "...[...t.rows].map((r) => [...r.cells].map((c) => c.textContent.trim()))])"
    )
    shown = {title: {row[0]: row[1:] for row in body} for title, _, *body in table}
    for of in task["evaluations"]:
        share = of["accuracy"]
        assert shown["Results"][of["label"]] == [
            f"{100 * share['value']:.1f}% [{100 * share['low']:.1f}, {100 * share['high']:.1f}]",
            "",
            *(
                f"{text}{' ◆' if of['label'] in task['pareto'][cost] else ''}"
                for cost, text in (
                    ("critical_path", f"{of['critical_path']['value']:,.0f}"),
                    ("total_tokens", f"{of['total_tokens']['value']:,.0f}"),
                )
            ),
            f"{of['longest_sequence']:,.0f}",
            f"{of['seconds']['value']:#.3g} ◆",
            f"{of['threads']:.1f}",
            "12",
        ]
        tokens = [of["tokens"][kind] for kind in ("prompt", "cached", "sampled")]
        assert shown["Cost: mean of a run"][of["label"]][:3] == [
            f"{count / 12:,.0f}" for count in tokens
        ]
        assert float(shown["Cost: mean of a run"][of["label"]][-1]) == pytest.approx(
            of["money"]["total"], rel=0.01
        )
    plots = browser.run(
        "return [...document.querySelectorAll('figure')].map((f) => [f.firstChild.textContent, "
        "f.querySelectorAll('.point').length, f.querySelectorAll('.point.best').length, "
        "f.querySelectorAll('.front').length, f.querySelectorAll('.curve').length])"
    )
    names = {"critical_path": "critical path", "total_tokens": "total tokens"}
    costs = {**names, "seconds": "wall clock"}
    assert plots == [
        *(
            [f"Accuracy against {name}", 3, len(task["pareto"][cost]), 1, 0]
            for cost, name in costs.items()
        ),
        *([f"Accuracy within a budget of {name}", 0, 0, 0, 3] for name in costs.values()),
    ]


def test_the_grid_says_who_was_right(browser: Browser, page: Path) -> None:
    browser.show(page)
    cells = browser.run("return [...document.querySelectorAll('.cell')].map((c) => c.ariaLabel)")
    expected = {
        f"{item.id}, {label}: {sum(r.correct for r in of if r.id == item.id)} of 2 right"
        for label, of in rows().items()
        for item in problems(6)
    }
    assert len(cells) == 18 and set(cells) == expected
    browser.run("const s = document.querySelector('select'); s.value = 'differ';"
                "s.dispatchEvent(new Event('change'))")  # fmt: skip
    right = {
        item.id: {sum(row.correct for row in of if row.id == item.id) for of in rows().values()}
        for item in problems(6)
    }
    differ = [name for name, shares in right.items() if len(shares) > 1]
    assert browser.run("return document.querySelectorAll('.cell').length") == 3 * len(differ)
    assert 0 < len(differ) < 6


def test_everything_by_keyboard(browser: Browser, page: Path) -> None:
    browser.show(page)
    reached: list[str] = []
    while not (at := focused(browser)).endswith(" right") and len(reached) < 60:
        reached.append(at)
        browser.press(Keys.TAB)
    assert len(reached) < 60 and any("Accuracy within a budget" in name for name in reached)
    cells = browser.run("return [...document.querySelectorAll('.cell')].map((c) => c.ariaLabel)")
    assert at == cells[0]
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    label = focused(browser)
    assert label == cells[7]
    browser.press(Keys.ENTER)
    browser.wait("return document.activeElement.id === 'run-title'")
    assert label.startswith(browser.run("return document.activeElement.textContent"))
    seen: list[str] = []
    while not (at := focused(browser)).startswith("thread ") and len(seen) < 20:
        seen.append(at)
        browser.press(Keys.TAB)
    assert at.startswith("thread 0, ") and any(", repeat " in name for name in seen)
    browser.show(page, at="run=0.0.0.0")
    browser.wait("return document.querySelectorAll('[role=option]').length > 2")
    browser.run("document.querySelector('[role=option]').focus()")
    browser.press(Keys.ARROW_DOWN)
    name = focused(browser).partition(",")[0]
    assert name != "thread 0"
    browser.press(Keys.ENTER)
    assert browser.run("return document.querySelector('.detail h3').textContent") == name
    browser.press(Keys.ESCAPE)
    browser.wait("return !document.querySelector('dialog').open")
    assert browser.run("return location.hash") == ""
    assert browser.errors() == []


def test_escape_gives_the_focus_back(browser: Browser, page: Path) -> None:
    browser.show(page)
    browser.run("document.querySelector('.cell').focus()")
    label = focused(browser)
    browser.press(Keys.ENTER)
    browser.wait("return document.querySelector('dialog').open")
    browser.press(Keys.ESCAPE)
    browser.wait("return !document.querySelector('dialog').open")
    assert focused(browser) == label


def test_the_same_evaluations_make_the_same_page(page: Path) -> None:
    groups = summarise(read_evaluations([evaluations()]))
    assert Page(groups).html() == Page(groups).html()
    assert not re.search(r"(src|href)=.https?:", page.read_text())


def test_where_there_is_no_browser_it_is_said_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SKIP_BROWSER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception) as missing:
        require()
    assert str(missing.value) == (
        "no chromium or chromedriver: sudo apt-get install chromium chromium-driver, or set "
        "SKIP_BROWSER=1"
    )
    monkeypatch.setenv("SKIP_BROWSER", "1")
    with pytest.raises(pytest.skip.Exception, match="SKIP_BROWSER=1: no page was opened"):
        require()
