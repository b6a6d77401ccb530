"""Recording a run and playing it back."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from controllers.best_of_n import BestOfN
from controllers.self_consistency import SelfConsistency
from reason.ledger import Budget
from reason.picture import SPINNER
from reason.run import Controller
from tests.console import asked, reason, replayed


@pytest.mark.parametrize(
    "controller",
    [
        AdaptiveParallel(syntax="countdown"),
        SelfConsistency(n=3, syntax="countdown"),
        BestOfN(n=3, syntax="countdown", enough=1.0),
    ],
)
def test_a_replay_is_the_run_again(controller: Controller, tmp_path: Path) -> None:
    recording, svg = tmp_path / "run.jsonl", tmp_path / "run.svg"
    figures = asked(controller, record=recording, svg=svg, json=True)[1]
    assert replayed(recording, json=True) == figures
    again = tmp_path / "again.svg"
    text = replayed(recording, svg=again)
    assert "★" in text and text.count("├─") + text.count("╰─") >= 3

    def threads(file: Path) -> set[str]:
        words = "".join(ET.parse(file).getroot().itertext()).split("\xa0")
        return {word for word in words if word.startswith("0.") and word.count(".") == 1}

    assert threads(svg) == threads(again) != set()


def test_a_recording_that_stops_early_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    asked(AdaptiveParallel(syntax="countdown"), record=recording)
    lines = recording.read_bytes().splitlines(keepends=True)
    recording.write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"ev')
    result = reason("replay", str(recording), "speed=0")
    assert result.exit_code == 1, "as of a run without an answer"
    assert "\n✂ 0 " in result.stdout and "─ ✂ 0." in result.stdout
    assert not set("◌▌" + SPINNER) & set(result.stdout)
    assert "none: the recording stops before the run does" in result.stdout
    account = json.loads(reason("replay", str(recording), "--json").stdout)
    assert f" {account['critical_path']} path\n" in result.stdout
    assert account["critical_path"] > 0
    terminal = replayed(recording, 1000, console={"force_terminal": True})
    last = terminal.rpartition("clock")[2]
    assert "✂" in last and not set("◌▌" + SPINNER) & set(last)


@pytest.mark.parametrize("limit, code", [(None, 0), (5, 1)])
def test_a_replay_returns_what_the_run_did(limit: int | None, code: int, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    budget = Budget(total_tokens=limit) if limit else Budget()
    method = AdaptiveParallel(syntax="countdown")
    assert asked(method, record=recording, budget=budget)[0] == code
    for more in ((), ("--json",)):
        assert reason("replay", str(recording), "speed=0", *more).exit_code == code


def test_damaged_recordings_are_one_line(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    asked(AdaptiveParallel(syntax="countdown", width=2), record=recording)
    header, opened, *rest, last = recording.read_text().splitlines()
    for lines, message in [
        ([header, *rest, last], "speaks of '0', which no event before it opened"),
        ([header, opened, "{}"], "line 3: not an event"),
        ([header, opened, last.replace('"found":"', '"found":["')], "not an event"),
        ([header, opened, last.replace('"verified":true', '"verified":7')], "is no result"),
    ]:
        recording.write_text("\n".join(lines) + "\n")
        result = reason("replay", str(recording), "--json")
        assert result.exit_code == 2
        assert message in result.stderr and result.stderr.count("\n") == 1
