"""`reason train traces` as it is typed, and self-training from evaluations."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from controllers.apr import AdaptiveParallel
from controllers.threadweaver import ThreadWeaver
from eval.item import Item
from eval.trees import read_trees
from reason.backends.scripted import ScriptedBackend
from reason.errors import UsageError
from reason.tree import ThreadTree
from reason.types import SamplingParams
from rl.requests import requests_of
from rl.traced.chain import read_chains
from rl.traced.contamination import Evaluations, words
from rl.traced.example import requests_in
from rl.traced.folder import Folder
from rl.traced.options import Options
from rl.traced.selftraining import SelfTraining
from rl.traced.statistics import Statistics
from tests import tiny
from tests.console import reason
from tests.evaluation import evaluate_oracle
from tests.traced import chain, chatting, examples, make, rows, write

WEAVE = ThreadWeaver(syntax="countdown", sampling=SamplingParams(temperature=0.0, max_tokens=2000))
NONE = Evaluations([])


@pytest.fixture(scope="module")
def woven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of threadweaver on Countdown, twice, with some wrong answers."""
    folder = tmp_path_factory.mktemp("woven")
    asyncio.run(evaluate_oracle(folder, controller=WEAVE))
    return folder


def own(path: Path, out: Path, **options: Any) -> Statistics:
    """Self-training as the command does it."""
    made = SelfTraining.of(path, Options(**options), NONE)
    with Folder(out, {"evaluation": made.source}) as folder:
        kept = made.run(folder, str)
        return folder.finish(made.items, kept, "tokens", 0)


def test_right_runs_of_an_evaluation_as_they_were_served(woven: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (woven / "samples.jsonl").read_text().splitlines()]
    right = {f"{row['id']}/{row['repeat']}" for row in rows if row["correct"]}
    assert 0 < len(right) < len(rows)
    found = own(woven, tmp_path, each=0)
    kept = examples(tmp_path)
    assert {example.id for example in kept} == right
    assert found.dropped == {"filter: wrong answer": len(rows) - len(right)}
    trees = {f"{one.id}/{one.repeat}": one for one in read_trees(woven / "trees.jsonl")}
    for example in kept:
        tree = ThreadTree.replay(trees[example.id].events)
        asked = [(list(r.context), list(r.sampled)) for r in requests_of(tree)]
        assert [(list(r.context), list(r.sampled)) for r in requests_in(example)] == asked
        assert example.figures.critical_path == tree.critical_path
        assert example.kind == "parallel" and example.tokenizer == "words"
        assert "<weave>" in str(example.prompt)
        assert 0 < example.figures.acceleration < 1


def test_the_fastest_of_each_question_within_limits(woven: Path, tmp_path: Path) -> None:
    every, one = own(woven, tmp_path / "all", each=0), own(woven, tmp_path / "one")
    questions = {example.id.rpartition("/")[0] for example in examples(tmp_path / "all")}
    kept = examples(tmp_path / "one")
    assert one.examples == len(kept) == len(questions) < every.examples
    assert one.dropped["filter: another of its question was faster"] == every.examples - len(kept)
    best: dict[str, float] = {}
    for example in examples(tmp_path / "all"):
        question = example.id.rpartition("/")[0]
        best[question] = max(best.get(question, 0), example.figures.acceleration)
    assert [example.figures.acceleration for example in kept] == list(best.values())
    middle = sorted(best.values())[len(best) // 2]
    fast = own(woven, tmp_path / "fast", acceleration=middle)
    assert 0 < fast.examples < one.examples
    assert fast.dropped["filter: too little gained"] > 0
    short = own(woven, tmp_path / "short", longest=100)
    assert short.dropped["filter: too long"] > 0


GOOD = (
    "So.<Parallel>\n<Outlines>\n<Outline>1: a</Outline>\n<Outline>2: b</Outline>\n</Outlines>",
    {"1": " x\n</Thread>", "2": " y\n</Thread>"},
    "</Parallel>\n\\boxed{7}",
)


@pytest.mark.parametrize(
    ("block", "threads", "final", "dropped"),
    [
        (*GOOD, None),
        (GOOD[0], {"1": " x\n</Thread>", "2": " y"}, GOOD[2], "malformed"),
        (GOOD[0], {"1": " x <Outlines>\n</Thread>", "2": " y\n</Thread>"}, GOOD[2], "malformed"),
        (GOOD[0], GOOD[1], "\\boxed{7}", "malformed"),
        (GOOD[0].replace("2: b", "1: b"), GOOD[1], GOOD[2], "malformed"),
        (GOOD[0].replace("1: a", "3: a"), GOOD[1] | {"3": " x\n</Thread>"}, GOOD[2], "malformed"),
        ("\\boxed{7}", {}, "", None),
        ("So </Thread> \\boxed{7}", {}, "", "malformed"),
        (GOOD[0], GOOD[1], GOOD[2] + "w" * 400, "cut off"),
        (GOOD[0], {"1": " x" * 400, "2": " y\n</Thread>"}, GOOD[2], "cut off"),
        (GOOD[0], GOOD[1], "</Parallel>\n\\boxed{8}", "wrong answer"),
    ],
)
def test_what_is_learnt_of_a_run(
    tmp_path: Path, block: str, threads: dict[str, str], final: str, dropped: str | None
) -> None:
    def script(context: str, params: SamplingParams) -> str:
        said = context.partition("</user>")[2]
        if not said:
            return block
        header = said.rpartition("<Thread>\n")[2]
        return threads[header[:-1]] if header.endswith(":") else final

    fault = lambda answer: None if answer == "7" else "it is not 7"  # noqa: E731
    item = Item("q", "what", "what", fault)
    method = ThreadWeaver(sampling=SamplingParams(temperature=0.0, max_tokens=300))
    backend = ScriptedBackend(script)
    done = tmp_path / "eval"
    asyncio.run(evaluate_oracle(done, backend=backend, items=[item], controller=method, repeats=1))
    found = own(done, tmp_path / "out")
    assert found.dropped == ({f"filter: {dropped}": 1} if dropped else {})
    assert found.examples == (dropped is None)
    if dropped is None:
        assert found.parallel == bool(threads)
        without = own(done, tmp_path / "none", sequential=0.0)
        assert without.examples == bool(threads)


def test_an_evaluation_that_grows_and_one_that_is_none(woven: Path, tmp_path: Path) -> None:
    done, out = tmp_path / "eval", tmp_path / "out"
    asyncio.run(evaluate_oracle(done, controller=WEAVE, repeats=1))
    first = own(done, out)
    asyncio.run(evaluate_oracle(done, controller=WEAVE, repeats=2))
    second = own(done, out)
    assert second.items == 2 * first.items and second.examples >= first.examples
    fresh = own(done, tmp_path / "fresh")
    assert fresh == second
    assert (out / "examples.jsonl").read_bytes() == (tmp_path / "fresh/examples.jsonl").read_bytes()
    other, bare = tmp_path / "other", tmp_path / "bare"
    asyncio.run(evaluate_oracle(other, controller=AdaptiveParallel(syntax="countdown"), repeats=1))
    with pytest.raises(UsageError, match="is an evaluation of apr; examples"):
        own(other, tmp_path / "x")
    asyncio.run(evaluate_oracle(bare, controller=WEAVE, repeats=1, trees=False))
    with pytest.raises(UsageError, match="holds no thread trees"):
        own(bare, tmp_path / "x")
    with pytest.raises(UsageError, match="does not exist"):
        own(tmp_path / "nowhere", tmp_path / "x")


def test_the_command_on_an_evaluation(woven: Path, tmp_path: Path) -> None:
    words = ("train", "traces", "--from-eval", str(woven), "--out", str(tmp_path / "out"))
    done = reason(*words, "each=0")
    assert done.exit_code == 0, done.stderr
    assert "passed filter" in done.stdout and "dropped, filter: wrong answer" in done.stdout
    assert "acceleration" in done.stdout and "No evaluation set was looked for" in done.stdout
    again = reason(*words, "each=0", "--json")
    figures = json.loads(again.stdout)
    assert figures["examples"] == len(examples(tmp_path / "out")) > 0
    assert figures["failed"] == [] and figures["unit"] == "tokens"
    other = reason(*words, "each=1")
    assert other.exit_code == 2
    assert "what differs: options.each is 0 there, 1 now" in other.stderr


def test_the_command_with_a_model_that_teaches_nothing(tmp_path: Path) -> None:
    """All of it is real: a model with random weights says nothing that can be used."""
    model = tmp_path / "model"
    model.mkdir()
    tiny.general(model)
    file = write(tmp_path / "chains.jsonl", [chain("a", [(), ()]), chain("b", [()], answer="8")])
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps({"problem": "What is c?", "answer": "1"}) + "\n")
    words = ("train", "traces", str(file), "-b", f"hf:{model}", "--out", str(tmp_path / "out"))
    limits = ("sampling.max_tokens=12", "tries=2", f"against={exam}", "tokenizer=teacher")
    done = reason(*words, *limits, "--json")
    assert done.exit_code == 1, done.stderr
    figures = json.loads(done.stdout)
    assert figures["dropped"] == {"analysis: cut off": 1, "chain: wrong answer": 1}
    assert figures["teacher_requests"] == 2 and figures["teacher_sampled_tokens"] == 24
    assert figures["questions"] == 1
    shown = reason(*words, *limits)
    assert shown.exit_code == 1 and "dropped, analysis: cut off" in shown.stdout


def test_the_command_with_a_teacher_behind_a_chat_api(tmp_path: Path) -> None:
    """All the way, over HTTP: what comes out is what the same teacher gives in this process."""
    model = tmp_path / "model"
    model.mkdir()
    tiny.general(model)
    file = write(tmp_path / "chains.jsonl", [*rows(5), chain("line", [(), (1,), (2,)])])
    words = ("train", "traces", str(file), "--out", str(tmp_path / "out"), f"tokenizer={model}")
    with chatting() as address:
        done = reason(*words, "-b", address)
        assert done.exit_code == 0, done.stderr
        own = ("train", "traces", str(file), "--out", str(tmp_path / "own"))
        refused = reason(*own, "-b", address, "tokenizer=teacher")
    assert "looked at          6" in done.stdout and "threads to a block" in done.stdout
    assert refused.exit_code == 2 and "tells no token ids over this interface" in refused.stderr
    options = Options(tokenizer=str(model))
    make(read_chains(file), tmp_path / "here", options=options)
    there, here = (tmp_path / name / "examples.jsonl" for name in ("out", "here"))
    assert there.read_bytes() == here.read_bytes()
    assert {example.kind for example in examples(tmp_path / "out")} == {"parallel", "sequential"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "which chains? for example"),
        (("c.jsonl", "--from-eval", "runs"), "which chains? for example"),
        (("c.jsonl", "-b", "hf:x"), "where to? give --out DIR"),
        (("c.jsonl", "--out", "o"), "which teacher? give --backend SPEC"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "concurrency=0"), "concurrency must be 1 or more"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "trys=2"), "key trys (did you mean tries?)"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "similarity=2"), "similarity must be a share"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "worth.saving=0"), "worth.saving must be 1 or"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "end=me"), "end must be one of model, runtime"),
        (("c.jsonl", "--out", "o", "-b", "hf:x", "against=aime1"), "no task is called 'aime1'"),
        (("c.jsonl", "--out", "o", "-b", "hf:x"), "cannot read c.jsonl"),
        (("--from-eval", "r", "--out", "o", "-b", "hf:x"), "an evaluation has its model"),
        (("--from-eval", "r", "--out", "o"), "r does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(given: tuple[str, ...], message: str) -> None:
    done = reason("train", "traces", *given)
    assert done.exit_code == 2 and message in done.stderr


def test_a_countdown_model_is_no_teacher(tmp_path: Path) -> None:
    file = write(tmp_path / "chains.jsonl", [chain("a", [(), ()])])
    words = ("train", "traces", str(file), "--out", str(tmp_path / "o"), "-b", "countdown-draft")
    done = reason(*words)
    assert done.exit_code == 2 and "a teacher must be a general chat model" in done.stderr
    assert not (tmp_path / "o").exists()


def test_overlap_is_of_words_in_a_row(tmp_path: Path) -> None:
    assert words("The \uff21 of $x^{2}$, ÉTÉ_3!") == ["the", "a", "of", "x", "2", "été", "3"]
    long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    known = Evaluations([("long", long), ("mid", "a b c d e f g h"), ("short", "find x now")])
    parts = long.split()
    assert known.overlap("so " + " ".join(parts[:13])) == "long"
    assert known.overlap("so " + " ".join(parts[1:]).upper()) == "long"
    assert known.overlap("so " + " ".join(parts[:12])) is None
    assert known.overlap(" ".join([*parts[:6], "x", *parts[6:]])) is None
    assert known.overlap("", "see: A b, c d e f g h.") == "mid"
    assert known.overlap("Find X now!") == "short"
    assert known.overlap("please find x now") is None  # too short to be looked for within a text
    assert Evaluations([]).overlap(long) is None and Evaluations([]).digest == ""
    assert known.digest != Evaluations([("long", long)]).digest
    with pytest.raises(UsageError, match="gram must be 2"):
        Evaluations([], 1)
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"problem": long, "answer": "1", "id": "q"}) + "\n")
    found = Evaluations.of([str(file), "countdown3"])
    assert found.overlap(long) == "own/q" and found.count == 201
