"""What the command line says of mistakes, and how it reads settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from controllers.apr import AdaptiveParallel
from reason.keys import Ask
from reason.ledger import Budget
from reason.settings import command_of, gather, method_of, split_words
from tests.console import reason, tiny


def mistakes(folder: Path) -> list[tuple[list[str], str]]:
    (folder / "bad.toml").write_text("width = \n")
    (folder / "odd.toml").write_text("colour = 3\n")
    question = ["ask", "3 5 7 8 = 24", "-b", tiny()]
    return [
        (["ask"], "nothing was asked; for example"),
        (["ask", " "], "nothing was asked"),
        (["aks"], "no command is called 'aks'; there is: ask, chat, replay, eval, sweep"),
        ([*question, "--width", "4"], "no option is called --width; fields of a method, its "),
        (
            [*question, "-c", "atts"],
            "rate 0.25 needs a calibration: make one with reason calibrate",
        ),
        ([*question, "--width", "4"], " are given as key=value: width=4"),
        ([*question, "--budget.critical-path=4k"], " key=value: budget.critical_path=4k"),
        ([*question, "--controler", "apr"], "--controler (did you mean --controller?); "),
        ([*question, "--width"], "key=value: width=VALUE"),
        (["ask", "3", "5", "-7", "=", "24"], "no option is called -7; a problem with a dash in it"),
        (["--width", "4", "ask"], "no option is called --width; options stand after the command"),
        ([*question, "--seed", "x"], "seed must be an integer, got 'x'"),
        ([*question, "--seed", "1.5"], "seed must be an integer, got '1.5'"),
        (["replay", "x.jsonl", "--speed", "fast"], "speed must be a number, got 'fast'"),
        ([*question, "-c", "magic"], "no controller is called 'magic'; there is: apr, "),
        ([*question, "widht=4"], "unknown key widht (did you mean width?); the keys are: backend"),
        ([*question, "width=wide"], "width must be an integer, got 'wide'"),
        ([*question, "sampling=3"], "sampling has keys of its own"),
        ([*question, "sampling.temperature=-1"], "sampling.temperature must be"),
        ([*question, "budget.tokens=3"], "unknown key budget.tokens (did you mean total_tokens?)"),
        ([*question, "budget=3"], "budget has keys of its own"),
        ([*question, "seconds=-1"], "budget.seconds must be 0 or more"),
        ([*question, "seed=x"], "seed must be an integer"),
        ([*question, "width=4", "width=8"], "width is given twice, as width=4 and as width=8: le"),
        ([*question, "budget.depth=4", "budget.depth=4"], "budget.depth is given twice, as bu"),
        ([*question, "--seed", "5", "--seed=6"], "--seed is given twice, as --seed 5 and as --se"),
        ([*question, "-c", "apr", "-c", "single"], "--controller is given twice, as --controller"),
        ([*question, "--seed", "5", "seed=6"], "seed is given twice, as seed=6 and as 5: leave"),
        ([*question, "--json", "json=false"], "json is given twice, as json=false and as True"),
        ([*question, "--config", "a.toml", "--config", "b.toml"], "--config is given twice, as -"),
        (["eval", "countdown4", "task=aime24"], "task is given twice, as task=aime24 and as cou"),
        ([*question, "-c", "best_of_n", "scorer=taste"], "there is: verifier, likelihood"),
        (
            [*question, "-c", "best_of_n", "n=4", "enough=7"],
            "enough must be at most 1, the highest score of the scorer verifier, got 7",
        ),
        ([*question, "syntax=xml"], "no syntax is called 'xml'; there is: tags, plain"),
        ([*question, "--config", "none.toml"], "cannot read none.toml"),
        ([*question, "--config", str(folder / "bad.toml")], "is not valid TOML"),
        ([*question, "--config", str(folder / "odd.toml")], "unknown key colour"),
        (["ask", "x", "-b", "hf:/none", "--record", str(folder)], f"cannot write {folder}: Is a"),
        (["ask", "x", "-b", "hf:/none", "--svg", "/dev/null/x.svg"], "cannot write /dev/null/x.sv"),
        (["replay", "none.jsonl", "--svg", str(folder)], f"cannot write {folder}: Is a directory"),
        (["ask", "what is the capital of France", "-b", tiny()], "reads Countdown problems only"),
        (["ask", "make 24 from 3 5 -7 8", "-b", tiny()], "-7 is negative. The shipped model"),
        (["ask", "3 5 7 8 = 240", "-b", tiny()], "the target 240 is out of range"),
        (["ask", "x", "-b", "gpt"], "no backend is called 'gpt'; a backend is written hf:"),
        (["ask", "x", "-b", "ftp:x"], "no backend is called 'ftp:x'"),
        (["ask", "x", "-b", "hf:"], "names no model"),
        (["ask", "x", "-b", "hf:/no/such/folder"], "no checkpoint directory at /no/such/folder"),
        (["ask", "x", "-b", f"{tiny()}?dytpe=auto"], "unknown key dytpe (did you mean dtype?)"),
        (["ask", "x", "-b", f"{tiny()}?max_batch=x"], "max_batch must be an integer"),
        (["ask", "x", "-b", f"{tiny()}?auto"], "must read key=value&key=value, got 'auto'"),
        (["ask", "x", "-b", f"{tiny()}?dtype=int3"], "dtype is 'int3'; expected one of"),
        (["chat", "--plain", "--theme", "pink"], "no theme is called 'pink'; there is: dark, lig"),
        (["chat", "--plain", "-b", "nope://x"], "no backend is called 'nope://x'; a backend is"),
        (["chat", "--plain", "-b", "nope://x"], "a server that runs the turns is reason://HOST:"),
        (["replay"], "which run?"),
        (["replay", "none.jsonl"], "cannot read none.jsonl"),
        (["replay", str(folder / "bad.toml")], "is no recorded run"),
        (["replay", "x.jsonl", "speed=-1"], "speed must be 0 or more"),
        (["replay", "x.jsonl", "fast=1"], "unknown key fast"),
        (["eval"], "which task? for example: reason eval countdown4; there is: countdown3, "),
        (["eval", ":2"], "which task?"),
        (["eval", "aime99"], "no task is called 'aime99'; there is: countdown3"),
        (["eval", "countdown4:x"], "expected TASK:REPEATS"),
        (["eval", "countdown4", "record=x"], "unknown key record"),
        (["train", "sft", "nothing", "--out", "x"], "with the package come: countdown.toml"),
        (["train", "sft", "countdown"], "give --out DIR"),
        (["train", "sft", "countdown", "--out", "x", "blok=3"], "did you mean block?"),
    ]


def test_mistakes_are_one_line_and_return_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, message in mistakes(tmp_path):
        result = reason(*words)
        assert message in result.stderr, words
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert result.stderr.startswith("reason: ") and result.stderr.count("\n") == 1, words


def test_a_light_installation_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from reason.cli import app\n"
        "app(['ask', 'x', '-b', 'hf:x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'pip install "reason-engine[hf]"' in done.stderr and done.stderr.count("\n") == 1


def test_bare_names_reach_the_budget_unless_the_method_has_them() -> None:
    words = ["depth=1", "critical_path=4k", "budget.depth=2", "budget.seconds=9", "width=3"]
    tables = gather(None, words, {"seed": 1, "svg": None})
    method, budget = method_of(Ask, tables, AdaptiveParallel)
    assert method == AdaptiveParallel(depth=1, width=3)
    assert budget == Budget(critical_path=4000, depth=2, seconds=9)
    assert command_of(Ask, tables) == Ask(seed=1)


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("seed = 1\nwidth = 2\nbudget.depth = 3\nbudget.seconds = 4\n")
    tables = gather(file, ["width=5", "budget.depth=6"], {"seed": "7", "json": None})
    method, budget = method_of(Ask, tables, AdaptiveParallel)
    assert (command_of(Ask, tables), method) == (Ask(seed=7), AdaptiveParallel(width=5))
    assert budget == Budget(depth=6, seconds=4)


def test_words_of_a_problem_are_not_settings() -> None:
    assert split_words(["if x=3, what is x?", "n=4"]) == (["if x=3, what is x?"], ["n=4"])
    assert split_words(["3", "5", "=", "8"]) == (["3", "5", "=", "8"], [])
    assert split_words(["n=4", "why"]) == (["why"], ["n=4"])
