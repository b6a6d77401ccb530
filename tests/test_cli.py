"""The command line: what it prints and what it returns."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from controllers.apr import AdaptiveParallel
from controllers.methods import METHODS
from controllers.self_consistency import SelfConsistency
from controllers.single import Single
from reason.command import Commands, stoppable
from reason.ledger import Budget
from reason.types import SamplingParams
from tests.console import SHORT, asked, reason, replayed, tiny
from tests.oracle import oracle

KEYS = [
    "answer",
    "thread",
    "controller",
    "critical_path",
    "total_tokens",
    "longest_sequence",
    "prompt_tokens",
    "cached_tokens",
    "threads",
    "peak_threads",
    "seconds",
    "ttft",
    "error",
    "verified",
    "fault",
    "limit",
    "warnings",
]


COMMANDS = [
    ["ask"],
    ["chat"],
    ["replay"],
    ["eval"],
    ["sweep"],
    ["report"],
    ["compare"],
    ["calibrate"],
    ["power"],
    ["serve"],
    ["methods"],
    ["train", "sft"],
    ["train", "grpo"],
    ["train", "trees"],
    ["train", "curves"],
    ["train", "traces"],
    ["cache", "build"],
    ["cache", "list"],
    ["cache", "rm"],
    ["tune", "ape"],
]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, reason.cli\n"
        "try: reason.cli.app(['--help'])\n"
        "finally: print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    shown, _, modules = done.stdout.partition("MODULES")
    assert "ask" in shown and "replay" in shown
    heavy = {"torch", "transformers", "scipy", "numpy", "rich", "controllers", "eval", "rl"}
    assert not heavy & set(modules.split())


def test_the_version_is_that_of_the_package() -> None:
    file = Path(__file__).parent.parent / "pyproject.toml"
    told = tomllib.loads(file.read_text())["project"]["version"]
    result = reason("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"reason {told}\n", "")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words: list[str]) -> None:
    for flag in ("-h", "--help"):
        result = reason(*words, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: root {' '.join(words)}")


@pytest.mark.parametrize("words", [[], ["train"], ["cache"], ["tune"]])
def test_the_list_of_commands_fits_80_columns(words: list[str]) -> None:
    listed = reason(*words, "--help", terminal_width=80).stdout.partition("Commands:")[2]
    expected = {command[len(words)] for command in COMMANDS if command[: len(words)] == words}
    assert len(listed.strip().splitlines()) == len(expected)
    assert "..." not in listed and all(line.endswith((".", "")) for line in listed.splitlines())


def test_figures_given_as_options_are_read_as_those_in_words() -> None:
    words = ["ask", "3 5 7 8 = 24", "-b", tiny(), "--json", SHORT]
    assert (
        reason(*words, "--seed", "1k").stdout.split(", ")[:6]
        == (reason(*words, "seed=1000").stdout.split(", ")[:6])
    )


def test_the_answer_and_the_account() -> None:
    code, text = asked(AdaptiveParallel(syntax="countdown", width=4))
    answer, tokens, seconds = text.splitlines()
    assert code == 0
    assert answer.startswith("answer   ") and answer.endswith("✓ verified")
    assert "on the critical path" in tokens and "tokens/s" in seconds
    assert " threads, " in seconds and seconds.endswith(" at once")
    alone = asked(Single(syntax="countdown"))[1]
    assert alone.endswith("tokens/s · 1 thread\n")


def test_a_wrong_answer_is_shown_as_a_right_one_and_with_the_reason(tmp_path: Path) -> None:
    def script(context: str, params: SamplingParams) -> str:
        return "<ans> 5 + 3 = 8 , 8 - 5 = 3 , 8 * 3 = 24 <eos>"

    recording = tmp_path / "run.jsonl"
    text = asked(Single(syntax="countdown"), backend=oracle(script=script), record=recording)[1]
    said = "answer   5 + 3 = 8, 8 - 5 = 3, 8 * 3 = 24   ✗ wrong: no 5 is left for 8 - 5 = 3\n"
    assert text.startswith(said) and said in replayed(recording)


def test_json_has_these_keys() -> None:
    result = reason("ask", "make 24 from 3 5 7 8", "-b", tiny(), "--json", SHORT, "rounds=1")
    figures = json.loads(result.stdout)
    assert list(figures) == KEYS
    assert figures["controller"] == "apr"
    assert (figures["verified"], figures["fault"]) == (False, "there is no answer")
    assert (result.exit_code, result.stderr) == (1, "")
    assert figures["total_tokens"] == 12


def test_help_names_every_method() -> None:
    for command in ("ask", "eval"):
        said = " ".join(reason(command, "--help").stdout.split())
        assert f"Controllers: {', '.join(METHODS)}." in said


ON_NUMBERS = [method for method in METHODS if method != "ape"]
"""Those that a Countdown model can be asked by; of the other see tests/test_ape.py."""


@pytest.mark.parametrize("method", ON_NUMBERS)
def test_every_method_runs(method: str) -> None:
    words = ["-b", tiny(), "-c", method, SHORT, "--json"]
    if method == "atts":  # which takes two models, and no calibration for a rate of 0
        words += [f"backends.target={tiny()}", "rate=0", "n=2"]
    result = reason("ask", "3 5 7 8 = 24", *words)
    assert (result.exit_code, result.stderr) == (1, ""), "random weights find no answer"
    assert json.loads(result.stdout)["controller"] == method


@pytest.mark.parametrize("method", ON_NUMBERS)
def test_a_method_has_one_name_wherever_it_is_spoken_of(method: str, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    words = ["-b", tiny(), "-c", method, SHORT, "--json"]
    if method == "atts":  # which takes two models, and no calibration for a rate of 0
        words += [f"backends.target={tiny()}", "rate=0", "n=2"]
    assert reason("ask", "3 5 7 8 = 24", *words, "--record", str(recording)).stderr == ""
    header = json.loads(recording.read_text().splitlines()[0])
    assert (header["method"], header["controller"]["name"]) == (method, method)
    assert json.loads(reason("replay", str(recording), "--json").stdout)["controller"] == method
    result = reason("eval", "countdown3", "limit=1", *words, "--out", str(tmp_path / "out"))
    assert json.loads(result.stdout)["config"]["controller"]["name"] == method


def test_unquoted_words_and_settings_in_any_order() -> None:
    result = reason("ask", f"backend={tiny()}", "3", "5", "7", "8", "=", "24", SHORT, "json=true")
    assert result.stderr == ""
    assert json.loads(result.stdout)["total_tokens"] == 12


def test_a_file_gives_what_options_and_words_give(tmp_path: Path) -> None:
    config = tmp_path / "ask.toml"
    config.write_text(
        f'problem = "3 5 7 8 = 24"\nbackend = "{tiny()}"\ncontroller = "self_consistency"\n'
        "n = 3\njson = true\n[sampling]\nmax_tokens = 12\n"
    )
    result = reason("ask", "--config", str(config))
    assert json.loads(result.stdout)["total_tokens"] == 36
    result = reason("ask", str(config), "n=2", "sampling.max_tokens=10", "--seed", "3")
    assert json.loads(result.stdout)["total_tokens"] == 20


def test_a_run_that_failed_returns_1(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    code, text = asked(
        AdaptiveParallel(syntax="countdown"), budget=Budget(critical_path=30), record=recording
    )
    assert code == 1
    assert "answer   none: the run reached budget.critical_path=30" in text
    assert "the run reached budget.critical_path=30" in replayed(recording)


def test_an_answer_returns_0_right_or_wrong_and_none_returns_1() -> None:
    method = Single(syntax="countdown")
    assert asked(method)[0] == 0
    code, text = asked(method, backend=oracle(wrong=1.0))
    assert code == 0 and "✗ wrong" in text
    code, text = asked(method, backend=oracle(silent=1.0))
    assert code == 1 and text.startswith("answer   none: the model found none\n")
    vote = SelfConsistency(n=2, syntax="countdown")  # it returns in spite of the budget
    code, text = asked(vote, budget=Budget(critical_path=5))
    assert code == 1 and text.startswith("answer   none: the run reached budget.critical_path\n")


def test_a_terminal_gets_the_tree_and_no_color_is_respected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = {"force_terminal": True, "color_system": "truecolor"}
    text = asked(AdaptiveParallel(syntax="countdown", width=2), console=terminal)[1]
    assert "├─ " in text and "\x1b[1;35m" in text
    monkeypatch.setenv("NO_COLOR", "1")
    text = asked(AdaptiveParallel(syntax="countdown", width=2), console=terminal)[1]
    assert "├─ " in text and "35m" not in text


def test_general_models_answer_anything(tmp_path: Path) -> None:
    folder = Path(tiny().removeprefix("hf:"))
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["reason_grammar"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((tmp_path / "tokenizer_config.json").read_text())
    tokenizer["chat_template"] = "{{ '7 + 8 = 15' }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    said = ["ask", "what is 7 + 8?", "-b", f"hf:{tmp_path}", "--json", SHORT]
    result = reason(*said, "-c", "single")
    assert result.stderr == ""
    assert json.loads(result.stdout)["verified"] is None
    result = reason(*said, "-c", "best_of_n")
    assert result.exit_code == 2
    assert "no scorer is called 'verifier'; there is: likelihood" in result.stderr
    assert reason(*said, "-c", "best_of_n", "scorer=likelihood").stderr == ""


def test_eval_writes_its_folder_and_goes_on(tmp_path: Path) -> None:
    words = ["eval", "countdown3:2", "-b", tiny(), "-c", "single", SHORT, "limit=3", "--json"]
    result = reason(*words, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)
    assert len((tmp_path / "out" / "samples.jsonl").read_text().splitlines()) == 6
    config = tmp_path / "eval.toml"
    config.write_text(
        f'task = "countdown3:2"\nbackend = "{tiny()}"\ncontroller = "single"\nlimit = 3\n'
        f'json = true\nout = "{tmp_path}/out"\n[sampling]\nmax_tokens = 12\n'
    )
    again = reason("eval", str(config))
    assert (again.exit_code, again.stdout) == (0, result.stdout)


RECIPE = (
    "batch = 200\nblock = 2\ncompile = false\n"
    "[shape]\nhidden = 64\nlayers = 1\nintermediate = 64\nhead = 32\ncontext = 512\n"
    '[[stage]]\nname = "one"\nblocks = 2\nmuon = 0.01\nadamw = 1e-3\n'
)


def test_train_sft_runs_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    result = reason("train", "sft", str(recipe), "--out", str(tmp_path / "run"), "seed=7")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    changed = reason("train", "sft", str(recipe), "--out", str(tmp_path / "run"), "seed=8")
    assert changed.exit_code == 2 and "seed differ from this recipe" in changed.stderr


def stopped(words: list[str], begun: Callable[[], bool]) -> tuple[int, str, str]:
    """A command that gets Ctrl-C once it has `begun`: exit code, output and errors."""
    with subprocess.Popen(
        [sys.executable, "-m", "reason.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    ) as process:
        deadline = time.monotonic() + 240
        while not begun():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def test_ctrl_c_before_there_is_anything_to_keep() -> None:
    app = typer.Typer(cls=Commands)

    @app.command()
    def load() -> None:
        raise KeyboardInterrupt

    @app.command()
    def work() -> None:
        with stoppable(lambda: "this much was done"):
            raise KeyboardInterrupt

    for word, said in (("load", ""), ("work", "; this much was done")):
        result = CliRunner().invoke(app, [word])
        assert (result.exit_code, result.stdout) == (130, "")
        assert result.stderr == f"reason: stopped{said}\n"


def test_a_stopped_question_says_where_its_recording_is(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    words = ["ask", "3 5 7 8 = 24", "-b", tiny(), "-c", "self_consistency", "n=64"]
    ended = stopped(
        [*words, "--record", str(recording)],
        lambda: recording.exists() and recording.read_text().count("sampled") > 3,
    )
    said = f"reason: stopped; the run up to here is on record: reason replay {recording}\n"
    assert ended == (130, "", said)
    assert '"finish":"cancelled"' in recording.read_text().splitlines()[-1]


def test_a_stopped_evaluation_says_how_to_go_on(tmp_path: Path) -> None:
    rows = tmp_path / "samples.jsonl"
    words = ["eval", "countdown3:999", "-b", tiny(), "limit=2", SHORT, "--json"]
    code, out, error = stopped(
        [*words, "--concurrency", "1", "--out", str(tmp_path)],
        lambda: rows.exists() and rows.read_bytes().count(b"\n") > 2,
    )
    kept = rows.read_bytes().count(b"\n")
    assert (code, out) == (130, "")
    assert error == (
        f"reason: stopped; finished samples: {kept}, in {tmp_path}; the same command goes on from "
        "there\n"
    )


def test_a_stopped_training_says_how_to_go_on(tmp_path: Path) -> None:
    recipe, folder = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("blocks = 2", "blocks = 9999"))
    words = ["train", "sft", str(recipe), "--out", str(folder)]
    log = folder / "log.jsonl"  # a second row is there once the first was told
    code, out, error = stopped(words, lambda: log.exists() and log.read_text().count("\n") > 1)
    assert (code, error) == (
        130,
        f"reason: stopped; the last checkpoint is in {folder}; the same command goes on from "
        "there\n",
    )
    first, second, *_ = out.splitlines()
    assert first == f"9999 blocks of 2 steps into {folder}"
    assert re.fullmatch(r"1/9999 one loss \d+\.\d+ \d+ tok/s, about \d+:[\d:]+ left", second)
